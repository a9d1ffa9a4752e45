"""abdoseg convert against dcm2niix -z y on one DICOM series: whole processes, best of several, the ratio in one run.

    python tests/benchmarks/read_dicom.py [--slices 140] [--repeats 3] [--folder A_REAL_SERIES]

Needs dcm2niix on the path. Exit code 1 when abdoseg takes more than 0.7 of its time.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
TARGET = 0.7


def abdomen(slices: int) -> np.ndarray:
    """(512, 512, slices) HU with a scanner's noise: correlated over two pixels, 15 HU in tissue, little in air."""
    rng = np.random.default_rng(0)
    i, j = np.meshgrid(np.linspace(-1, 1, 512), np.linspace(-1, 1, 512), indexing="ij")
    radius = i**2 / 0.7 + j**2 / 0.4
    tissue = np.where(radius < 0.75, 50.0, np.where(radius < 1, -100.0, -1000.0))
    tissue[np.hypot(i, j + 0.35) < 0.1] = 400
    out = np.empty((512, 512, slices), np.int16)
    for k in range(slices):
        noise = rng.normal(0, 30, (512, 512))
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, 1, (0, 1))) / 4
        out[:, :, k] = np.maximum(np.round(tissue + noise * np.where(radius < 1, 1, 0.5)), -1024)
    return out


def seconds(command: list[str], out: Path) -> float:
    """Wall time of one process that writes into an empty folder."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=140)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="a real series in place of the phantom")
    args = parser.parse_args()
    if not shutil.which("dcm2niix"):
        sys.exit("dcm2niix is not on the path")
    with tempfile.TemporaryDirectory() as name:
        folder, out = args.folder or Path(name, "series"), Path(name, "out")
        if args.folder is None:
            from phantom_dicom import write_series

            write_series(folder, abdomen(args.slices))
        ours = ["abdoseg", "convert", str(folder), "-o", str(out / "ct.nii.gz")]
        theirs = ["dcm2niix", "-z", "y", "-f", "ct", "-o", str(out), str(folder)]
        times: dict[str, list[float]] = {"abdoseg": [], "dcm2niix": []}
        sizes = {}
        for _ in range(args.repeats):
            for tool, command in (("abdoseg", ours), ("dcm2niix", theirs)):
                times[tool].append(seconds(command, out))
                sizes[tool] = sum(path.stat().st_size for path in out.glob("*.nii.gz")) / 1e6
    for tool, found in times.items():
        print(f"{tool:<9} {min(found):.2f} s (of {', '.join(f'{t:.2f}' for t in found)}), {sizes[tool]:.1f} MB")
    ratio = min(times["abdoseg"]) / min(times["dcm2niix"])
    print(f"ratio     {ratio:.2f} (at most {TARGET})")
    return int(ratio > TARGET)


if __name__ == "__main__":
    sys.exit(main())
