"""Times whole `abdoseg segment` processes: one scan, ten in a call, a whole body; and Dice by tiles and by precision.

python tests/benchmarks/segment.py scan 300 scan.nii.gz     (a made-up scan of 512 x 512 x 300)
python tests/benchmarks/segment.py scan 1000 body.nii.gz
python tests/benchmarks/segment.py process scan.nii.gz body.nii.gz
python tests/benchmarks/segment.py ten scan.nii.gz
python tests/benchmarks/segment.py busy scan.nii.gz         (beside a program that keeps one core busy)
python tests/benchmarks/segment.py tiles ../shared/data/FLARE22 btcv_0021 btcv_0027 btcv_0031 btcv_0039
python tests/benchmarks/segment.py precision ../shared/data/FLARE22 btcv_0021 btcv_0027 btcv_0031 btcv_0039
python tests/benchmarks/segment.py info scan.nii.gz
python tests/benchmarks/segment.py measure scan_seg.nii.gz  (its volumes, stored in each of the 48 orders of axes)

Any of them but `scan`, `busy`, `info` and `measure` takes `--model FILE` at its end.
"""

import dataclasses
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

EXTRA: list[str] = []
ALLOWED = 0.001  # of Dice, to be given for speed


def process(scans: list[str], output: str) -> tuple[float, float]:
    """Seconds and peak GB of one process from its start to its end."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "abdoseg", "segment", *scans, "-o", output, "-q", "--overwrite", *EXTRA]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"segment failed with status {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 2**20


def processes(scans: list[str], repeat: int = 3) -> None:
    """A table of whole processes, with the stages of the last."""
    for scan in scans:
        with tempfile.TemporaryDirectory() as folder:
            runs = [process([scan], folder) for _ in range(repeat)]
            record = json.loads(next(Path(folder).glob("*.json")).read_text())
        seconds, memory = statistics.median(run[0] for run in runs), max(run[1] for run in runs)
        stages = "  ".join(f"{stage} {taken:.2f}" for stage, taken in record["seconds"].items())
        print(f"{Path(scan).name}: {seconds:.2f} s, {memory:.2f} GB   {stages}")


def ten(scan: str) -> None:
    """Ten scans in one call against ten calls."""
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder) / f"scan{n}.nii.gz" for n in range(10)]
        for copy in copies:
            copy.symlink_to(Path(scan).resolve())
        single = sum(process([str(copy)], folder)[0] for copy in copies)
        together, memory = process([str(copy) for copy in copies], folder)
    print(f"ten calls {single:.1f} s, one call {together:.1f} s ({together / single:.2f}), {memory:.2f} GB")


def busy(scan: str, repeat: int = 3) -> None:
    """One process beside a program that keeps one core busy, with our short wait for cores and with libgomp's own."""
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        for name, spins in (("ours", None), ("libgomp's own", "300000")):
            os.environ.pop("GOMP_SPINCOUNT", None)
            if spins:
                os.environ["GOMP_SPINCOUNT"] = spins
            with tempfile.TemporaryDirectory() as folder:
                seconds = statistics.median(process([scan], folder)[0] for _ in range(repeat))
            print(f"beside a busy program, {name}: {seconds:.2f} s")
    finally:
        spinning.kill()


def volumes(labels: str, repeat: int = 3) -> None:
    """Fastest and slowest of the 48 orders of axes: seconds of all boxes, and of all volumes within them."""
    from abdoseg.image.volumetry import boxes, measure
    from abdoseg.io import read_labels

    labelmap = read_labels(labels)
    hu = np.asfortranarray(labelmap.labels).astype(np.int16)
    times = {}
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            turned = tuple(slice(None, None, sign) for sign in signs)
            arrays = [
                np.asfortranarray(array.transpose(axes)[turned])[turned].transpose(np.argsort(axes))
                for array in (labelmap.labels, hu)
            ]
            one = dataclasses.replace(labelmap, labels=arrays[0])
            seconds = []
            for _ in range(repeat):
                start = time.perf_counter()
                within = boxes(one.labels)
                between = time.perf_counter()
                measure(one, arrays[1], within)
                seconds.append((between - start, time.perf_counter() - between))
            times["".join("-+"[sign > 0] + "RAS"[axis] for axis, sign in zip(axes, signs, strict=True))] = [
                min(column) for column in zip(*seconds, strict=True)
            ]
    for name, column in (("boxes", 0), ("volumes", 1)):
        ordered = sorted(times, key=lambda order: times[order][column])
        texts = [f"{times[order][column]:.3f} s ({order})" for order in (ordered[0], ordered[24], ordered[-1])]
        print(f"{name}: fastest {texts[0]}, median {texts[1]}, slowest {texts[2]}")


def info(scan: str, repeat: int = 5) -> None:
    """Median seconds of the commands that should answer at once."""
    for arguments in (["--help"], ["--version"], ["info", scan]):
        times = []
        for _ in range(repeat):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "abdoseg", *arguments], stdout=subprocess.DEVNULL, check=True)
            times.append(time.perf_counter() - start)
        print(f"{arguments[0]:<10} {statistics.median(times):.2f} s")


def made_up(slices: int, path: Path) -> None:
    """Writes a scan of 512 x 512 voxels a slice: the one of `bench`, back and forth where it is longer."""
    from abdoseg.cli.bench import _large
    from abdoseg.image.volume import Geometry, Stored
    from abdoseg.io import write_nifti

    voxels = _large().voxels
    there_and_back = [*range(voxels.shape[2]), *reversed(range(voxels.shape[2]))]
    tall = voxels[:, :, np.resize(there_and_back, slices)]
    write_nifti(tall, Stored(Geometry(tall.shape, np.diag([0.75, 0.75, 1.0, 1.0]))), path)


def tiles(data: Path, cases: list[str]) -> None:
    """Mean Dice and network seconds by tile size and overlap, and which of them to take."""
    from abdoseg.inference import coarse_to_fine
    from abdoseg.inference.sliding_window import sliding_window

    model, loaded, rows = *_loaded(data, cases), []
    print(f"{'most voxels':>12} {'overlap':>8} {'seconds':>8}  Dice")
    for most, overlap in itertools.product((1_200_000, 2_000_000, 3_000_000), (0.125, 0.25, 0.5)):
        coarse_to_fine.sliding_window = (
            lambda model, image, organs, _, region=None, track=None, most=most, overlap=overlap: sliding_window(
                model, image, organs, most, overlap, region
            )
        )
        seconds, dice = scored(model, loaded)
        rows.append((seconds, most, overlap, dice.mean()))
        print(f"{most:>12} {overlap:>8} {seconds:>8.2f}  {dice.mean():.4f}  {np.round(dice, 4)}", flush=True)
    best = max(dice for *_, dice in rows)
    seconds, most, overlap, dice = min(row for row in rows if row[3] >= best - ALLOWED)
    print(
        f"take MAX_TILE_VOXELS = {most:_}, OVERLAP = {overlap}: the fastest within {ALLOWED} of the best Dice, "
        f"{best:.4f} ({dice:.4f}, {seconds:.2f} s)"
    )


def precisions(data: Path, cases: list[str]) -> None:
    """Mean Dice and network seconds by what the network computes in."""
    import torch

    from abdoseg.inference import sliding_window

    model, loaded = _loaded(data, cases)
    for dtype in (torch.float32, torch.int8, torch.bfloat16):
        sliding_window.precision = lambda model, dtype=dtype: dtype
        seconds, dice = scored(model, loaded)
        print(f"{dtype!s:<16} {seconds:>8.2f} s  {dice.mean():.4f}  {np.round(dice, 4)}", flush=True)


def _loaded(data: Path, cases: list[str]):
    """The model, and each case's scan and truth."""
    from abdoseg.cli.process import tune_process
    from abdoseg.io import read_labels, read_scan
    from abdoseg.model.weights import load_model

    tune_process()
    loaded = [
        (read_scan(data / "images" / f"{case}_0000.nii.gz"), read_labels(data / "labels" / f"{case}.nii.gz", "flare22"))
        for case in cases
    ]
    return load_model(EXTRA[1] if EXTRA else None), loaded


def scored(model, loaded) -> tuple[float, np.ndarray]:
    """Network seconds of all cases, and mean Dice by organ."""
    from abdoseg.metrics import dice
    from abdoseg.segmentation import segment

    scores, seconds = [], 0.0
    for volume, truth in loaded:
        found = segment(volume, model)
        seconds += found.record.seconds["network"]
        scores.append([dice(truth.mask(organ), found.labelmap.mask(organ)) for organ in found.labelmap.organs.values()])
    return seconds, np.nanmean(scores, axis=0)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if "--model" in rest:
        EXTRA += rest[rest.index("--model") :]
        rest = rest[: rest.index("--model")]
    if what == "process":
        processes(rest)
    elif what == "ten":
        ten(rest[0])
    elif what == "busy":
        busy(rest[0])
    elif what == "info":
        info(rest[0])
    elif what == "measure":
        volumes(rest[0])
    elif what == "scan":
        made_up(int(rest[0]), Path(rest[1]))
    else:
        {"tiles": tiles, "precision": precisions}[what](Path(rest[0]), rest[1:])
