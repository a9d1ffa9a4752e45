"""Seconds per million voxels trained: our step against nnU-Net's own network and trainer step, on the same patch.

    python tests/benchmarks/train_step.py --nnunet-python OTHER/bin/python

OTHER is an environment with nnunetv2 and the same PyTorch. nnU-Net runs as its planner and trainer set it up for this
patch and grid (3-D full resolution, deep supervision; float32 on a CPU, as it does); ours as `fit` does, with the
drawing of batches. Each runs alone, steps of batch 2; the fastest and the median step are given,
and the processors' time, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

PATCH, BATCH, CLASSES = (96, 96, 64), 2, 13
SPACING_MM = (2.0, 2.0, 3.0)
MEGAVOXELS = BATCH * PATCH[0] * PATCH[1] * PATCH[2] / 1e6


def now() -> tuple[float, float]:
    """Seconds by the clock, and of all processors together."""
    return time.perf_counter(), time.process_time()


def ours(steps: int) -> list[tuple[float, float]]:
    """Seconds of each step of `fit` on a phantom, from the second on: batch, forward, loss, backward, update."""
    from dataclasses import replace

    import torch

    from abdoseg.anatomy.organs import ORGANS
    from abdoseg.phantom import phantom
    from abdoseg.training import fit
    from abdoseg.training.data.cache import Cache, CaseArrays, CaseSource, prepare_cases
    from abdoseg.training.recipes import TrainingConfig

    organs = tuple(organ.name for organ in ORGANS if not organ.is_lesion and organ.name != "duodenum")
    volume, labelmap = phantom(0, spacing_mm=SPACING_MM, organs=organs)
    times = [now()]

    class Clock:
        def stepped(self, progress, fraction, loss):
            times.append(now())

        def epoch_done(self, epochs):
            pass

    with tempfile.TemporaryDirectory() as folder:
        contents = CaseArrays({"image": volume.voxels, "labels": labelmap.labels}, SPACING_MM)
        cases, _ = prepare_cases(Path(folder), [CaseSource("phantom", "", organs)], lambda case: contents)
        config = replace(TrainingConfig(), organs=organs, epochs=1, epoch_steps=steps + 2)
        assert config.patch == PATCH and config.batch == BATCH and len(config.organs) + 1 == CLASSES
        split = fit.TrainingSplit(Cache(cases), ("phantom",), ())
        fit.fit(split, config, Path(folder) / "run", fit.RunOptions(torch.device("cpu")), [Clock()])
    return [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(times[2:])]


def nnunet(steps: int) -> list[tuple[float, float]]:
    """Seconds of each of nnU-Net's train_step, from the second on; its axes are (K, J, I)."""
    root = Path(tempfile.mkdtemp())
    folders = {name: str(root) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    os.environ |= {**folders, "nnUNet_compile": "f"}
    import numpy as np
    import torch
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    patch = PATCH[::-1]
    _, strides, kernels, patch, _ = get_pool_and_conv_props(SPACING_MM[::-1], patch, 4, 999999)
    features = [min(32 * 2**n, 320) for n in range(len(strides))]
    network = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": len(strides), "features_per_stage": features, "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": kernels, "strides": strides, "n_conv_per_stage": [2] * len(strides),
            "n_conv_per_stage_decoder": [2] * (len(strides) - 1), "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d", "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }  # fmt: skip
    configuration = {"batch_size": BATCH, "patch_size": list(patch), "spacing": SPACING_MM[::-1], "batch_dice": True,
                     "data_identifier": "x", "preprocessor_name": "DefaultPreprocessor", "architecture": network,
                     "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False]}  # fmt: skip
    plans = {"dataset_name": "Dataset001_bench", "plans_name": "nnUNetPlans", "label_manager": "LabelManager",
             "configurations": {"3d_fullres": configuration}, "transpose_forward": [0, 1, 2],
             "transpose_backward": [0, 1, 2], "image_reader_writer": "SimpleITKIO",
             "foreground_intensity_properties_per_channel": {}, "continue_training": False}  # fmt: skip
    labels = {"background": 0, **{f"organ{n}": n for n in range(1, CLASSES)}}
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    packed = root / "Dataset001_bench" / "x"
    packed.mkdir(parents=True)
    (packed / "case.b2nd").touch()  # by its suffix the trainer chooses the reader that it will not need
    trainer = nnUNetTrainer(plans, "3d_fullres", 0, dataset, device=torch.device("cpu"))
    trainer.initialize()
    trainer.network.train()
    scales = trainer._get_deep_supervision_scales()
    target = torch.randint(0, CLASSES, (BATCH, 1, *patch)).float()
    targets = [torch.nn.functional.interpolate(target, size=[round(n * s) for n, s in zip(patch, scale, strict=True)])
               for scale in scales]  # fmt: skip
    batch = {"data": torch.from_numpy(np.random.default_rng(0).normal(size=(BATCH, 1, *patch)).astype(np.float32)),
             "target": targets}  # fmt: skip
    times = []
    for _ in range(steps + 1):
        times.append(now())
        trainer.train_step(batch)
    times.append(now())
    return [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(times[1:])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nnunet-python", help="the Python of an environment with nnunetv2")
    parser.add_argument("--steps", type=int, default=12, help="of ours; nnU-Net makes a quarter as many")
    parser.add_argument("--only", choices=["ours", "nnunet"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps({"ours": ours, "nnunet": nnunet}[arguments.only](arguments.steps)))
        return
    found = {}
    for name, python, steps in (
        ("ours", sys.executable, arguments.steps),
        ("nnunet", arguments.nnunet_python, max(2, arguments.steps // 4)),
    ):
        if python:
            command = [python, __file__, "--only", name, "--steps", str(steps)]
            result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            columns = zip(*json.loads(result.stdout.splitlines()[-1]), strict=True)
            wall, cpu = ([t / MEGAVOXELS for t in column] for column in columns)
            found[name] = median(wall), median(cpu)
            print(f"{name}: {found[name][0]:.2f} s a million voxels, fastest {min(wall):.2f} ({len(wall)} steps); "
                  f"{found[name][1]:.2f} s of processors")  # fmt: skip
    if len(found) == 2:
        by_clock, by_processor = (theirs / own for theirs, own in zip(found["nnunet"], found["ours"], strict=True))
        print(f"ours is {by_clock:.1f} times faster, with {by_processor:.1f} times less of the processors")


if __name__ == "__main__":
    main()
