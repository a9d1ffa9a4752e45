"""Times nnU-Net v2's own predictor, as a whole process, on a scan: the field's yardstick.

    pip install nnunetv2
    python tests/benchmarks/nnunet.py scan.nii.gz

Its preprocessing, a PlainConvUNet of 6 stages (32 to 320 channels) at 3 mm, five classes, random weights, no
mirroring, its export, on the CPU. What is predicted means nothing; time and memory do not depend on it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLASSES = ["background", "liver", "kidney_right", "kidney_left", "spleen"]
PATCH = [96, 128, 128]
NETWORK = {
    "n_stages": 6,
    "features_per_stage": [32, 64, 128, 256, 320, 320],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[3, 3, 3]] * 6,
    "strides": [[1, 1, 1]] + [[2, 2, 2]] * 5,
    "n_conv_per_stage": [2] * 6,
    "n_conv_per_stage_decoder": [2] * 5,
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}


def plans() -> dict:
    """What nnU-Net's planner would have written."""

    def resampling(order: int, is_seg: bool) -> dict:
        return {"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": None}

    name = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": PATCH,
        "median_image_size_in_voxels": [100.0, 128.0, 128.0],
        "spacing": [3.0, 3.0, 3.0],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": name,
        "resampling_fn_seg": name,
        "resampling_fn_probabilities": name,
        "resampling_fn_data_kwargs": resampling(3, False),
        "resampling_fn_seg_kwargs": resampling(1, True),
        "resampling_fn_probabilities_kwargs": resampling(1, False),
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": NETWORK,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": False,
    }
    hu = {"mean": 80.0, "median": 90.0, "std": 140.0, "min": -1024.0, "max": 3071.0}
    hu |= {"percentile_00_5": -950.0, "percentile_99_5": 270.0}
    return {
        "dataset_name": "Dataset001_Bench",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 0.75, 0.75],
        "original_median_shape_after_transp": [300, 512, 512],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {**hu, "percentile_00_5": -950.0, "percentile_99_5": 270.0}
        },
    }


def prepare(folder: Path) -> None:
    """Plans, dataset and random weights, where the predictor looks for them."""
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    torch.manual_seed(0)
    types = {
        "conv_op": torch.nn.Conv3d, "norm_op": torch.nn.InstanceNorm3d, "nonlin": torch.nn.LeakyReLU,
    }  # fmt: skip
    network = PlainConvUNet(1, num_classes=len(CLASSES), deep_supervision=False, **{**NETWORK, **types})
    labels = {name: number for number, name in enumerate(CLASSES)}
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans()))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    checkpoint = {
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": None,
        "network_weights": network.state_dict(),
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")


def predict(model: str, scan: str, output: str) -> None:
    """What runs in the timed process."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"),
                                allow_tqdm=False)  # fmt: skip
    predictor.initialize_from_trained_model_folder(model, (0,), "checkpoint_final.pth")
    predictor.predict_from_files([[scan]], [output], num_processes_preprocessing=1, num_processes_segmentation_export=1)


def main(scan: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder / "model")
        environment = {**os.environ, **{f"nnUNet_{part}": name for part in ("raw", "preprocessed", "results")}}
        command = [sys.executable, __file__, "--child", str(folder / "model"), scan, str(folder / "out")]
        start = time.perf_counter()
        child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
        peak = 0.0
        while child.poll() is None:
            peak = max(peak, _resident_gb(child.pid))
            time.sleep(0.05)
        print(f"nnU-Net v2: {time.perf_counter() - start:.1f} s, {peak:.2f} GB, status {child.returncode}")


def _resident_gb(session: int) -> float:
    """GB that the processes of a session hold, pages shared between them counted once a process. Linux only."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return total / 2**30


if __name__ == "__main__":
    if sys.argv[1] == "--child":
        predict(*sys.argv[2:])
    else:
        main(sys.argv[1])
