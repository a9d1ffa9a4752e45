"""Times `abdoseg segment` over many scans, as whole processes: a tree of DICOM folders, Dask, and memory that is flat.

python tests/benchmarks/cohort.py tree 100 512 100      (scans, matrix, slices: seconds a scan beside single calls)
python tests/benchmarks/cohort.py dask 40 2             (scans, workers: beside one process)
python tests/benchmarks/cohort.py memory 1000           (small scans of twenty sizes: RSS at the 100th and at the last)
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CALLS = 5  # single ones, whose mean stands beside the tree's
SIZES = 20  # of small scans
LATEST = 20  # scans, of whose RSS the highest counts


def segment(words: list[str], output: Path) -> tuple[float, dict[int, int]]:
    """Seconds of one process, and by number of cases done its RSS in MB."""
    command = [sys.executable, "-m", "abdoseg", "segment", *words, "-o", str(output), "-q", "--progress", "json"]
    start, held = time.perf_counter(), {}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("{"):
                held[json.loads(line)["done"]] = rss_mb(process.pid)
    if process.returncode:
        raise SystemExit(f"segment failed with status {process.returncode}")
    return time.perf_counter() - start, held


def rss_mb(pid: int) -> int:
    """What a process holds. Source: proc(5), VmRSS."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS")), 0)


def small_scans(folder: Path, count: int) -> list[str]:
    """Phantoms of twenty sizes, of some 16 cm, under many names."""
    from abdoseg.io import write_nifti
    from abdoseg.phantom import phantom

    rng = np.random.default_rng(0)
    for n in range(SIZES):
        volume, _ = phantom(n, tuple(map(int, rng.integers(34, 49, 3))), tuple(rng.uniform(3, 5, 3).round(2)))
        write_nifti(volume.voxels, volume.stored, folder / f"phantom{n}.nii.gz")
    for n in range(count):
        (folder / f"s{n:04}.nii.gz").symlink_to(f"phantom{n % SIZES}.nii.gz")
    (folder / "list.txt").write_text("".join(f"{folder / f's{n:04}.nii.gz'}\n" for n in range(count)))
    return ["--from", str(folder / "list.txt")]


def tree(folder: Path, count: int, matrix: int, slices: int) -> None:
    """Seconds a scan of a tree of DICOM folders, a patient each, beside calls for one."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from phantom_dicom import AXIAL, write_series

    from abdoseg.phantom import phantom

    spacing = (380 / matrix, 380 / matrix, 300 / slices)
    volume, _ = phantom(0, (matrix, matrix, slices), spacing)
    voxels = volume.voxels[::-1, ::-1]  # to LPS, as the series' axes are
    affine = AXIAL @ np.diag([*np.array(spacing) / np.abs(np.diag(AXIAL)[:3]), 1])
    for n in range(count):
        write_series(folder / "tree" / f"patient{n:03}", voxels, affine)
    calls = range(min(CALLS, count))
    single = sum(segment([str(folder / "tree" / f"patient{n:03}")], folder / "single")[0] for n in calls) / len(calls)
    together, held = segment([str(folder / "tree")], folder / "out")
    print(f"{count} of {matrix} x {matrix} x {slices}: {together / count:.2f} s a scan, {single:.2f} s in calls of one;"
          f" {max(held.values())} MB")  # fmt: skip


def dask(folder: Path, count: int, workers: int) -> None:
    """Seconds over Dask's processes beside one process."""
    words = small_scans(folder, count)
    alone, _ = segment(words, folder / "alone")
    spread, _ = segment([*words, "--scheduler", f"local:{workers}"], folder / "spread")
    print(f"{count} small scans: {alone:.1f} s in one process, {spread:.1f} s over {workers} workers of Dask")


def memory(folder: Path, count: int) -> None:
    """RSS of one process, of one thread, up to the 100th scan and up to the last: the highest at twenty scans each."""
    seconds, held = segment([*small_scans(folder, count), "--threads", "1"], folder / "out")
    early, late = (max(held[n] for n in range(last - LATEST + 1, last + 1)) for last in (100, count))
    print(f"{count} small scans in {seconds:.0f} s: {early} MB up to the 100th, {late} MB up to the last")


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    with tempfile.TemporaryDirectory() as name:
        {"tree": tree, "dask": dask, "memory": memory}[sys.argv[1]](Path(name), *map(int, sys.argv[2:]))
