"""abdoseg bench: seconds of each stage of `segment` on this machine, beside what its memory bandwidth allows."""

from __future__ import annotations

import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk
from abdoseg.cli.process import import_torch

if TYPE_CHECKING:
    from abdoseg.image.volume import Volume
    from abdoseg.segmentation import Segmentation

SHAPE, SPACING_MM = (512, 512, 300), (0.75, 0.75, 1.0)


@click.command()
@click.argument("scan", required=False, type=click.Path(path_type=Path))
@click.option("--repeat", type=click.IntRange(1, 100), default=3, show_default=True, help="Runs; medians are shown.")
@options.model
@options.device
@options.threads
@options.as_json
@options.quiet
def bench(
    scan: Path | None,
    repeat: int,
    model_names: tuple[str, ...],
    device: str,
    threads: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Time `segment` stage by stage, on SCAN or on a made-up one of 512 x 512 x 300.

    floor is what the bytes that a stage must move take at this machine's memory bandwidth; reading and writing a .gz
    have bare gunzip and gzip. Nothing is left behind. Put the table into a report about speed.
    """
    talk = Talk(quiet)
    seconds: dict[str, list[float]] = {}
    with _timed(seconds, "import"):
        load = options.model_loader(model_names, device, threads)
        import_torch()
        import torch

        from abdoseg.io import read_scan, write_nifti
        from abdoseg.runtime.memory import peak_memory
        from abdoseg.segmentation import segment
    with _timed(seconds, "load model"):
        model = load()
    with tempfile.TemporaryDirectory() as folder:
        if scan is None:
            talk.say("making a scan of " + " x ".join(map(str, SHAPE)))
            volume, scan = _large(), Path(folder) / "bench.nii.gz"
            write_nifti(volume.voxels, volume.stored, scan)
            del volume
        for _ in talk.track(range(repeat), "bench"):
            with _timed(seconds, "read"):
                volume = read_scan(scan)
            found = segment(volume, model)
            for stage, taken in found.record.seconds.items():
                seconds.setdefault(stage, []).append(taken)
            with _timed(seconds, "write"):
                write_nifti(found.labelmap.labels, volume.stored, Path(folder) / "labels.nii.gz")
        floors = _floors(scan, volume, found)
    rows = [(stage, statistics.median(taken), floors.get(stage)) for stage, taken in seconds.items()]
    rows.append(("all", sum(row[1] for row in rows), None))
    facts = {name: getattr(found.record, name) for name in ("versions", "device", "precision", "threads")}
    facts |= {"shape": list(volume.geometry.shape), "peak_memory_gb": round(peak_memory() / 2**30, 2)}
    if model.device.type == "cuda":
        facts["peak_gpu_memory_gb"] = round(torch.cuda.max_memory_reserved(model.device) / 2**30, 2)
    if as_json:
        stages = [{"stage": stage, "seconds": taken, "floor": floor} for stage, taken, floor in rows]
        click.echo(json.dumps({**facts, "stages": stages}))
        return
    click.echo(f"{'stage':<12} {'seconds':>8} {'floor':>8} {'times':>6}")
    for stage, taken, floor in rows:
        click.echo(f"{stage:<12} {taken:>8.3f} " + (f"{floor:>8.3f} {taken / floor:>6.1f}" if floor else f"{'-':>8}"))
    size = " x ".join(map(str, volume.geometry.shape))
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    click.echo(f"{size}, peak memory {facts['peak_memory_gb']} GB (made-up scan included)")
    if "peak_gpu_memory_gb" in facts:
        click.echo(f"peak memory of the GPU {facts['peak_gpu_memory_gb']} GB (PyTorch's tensors and what it keeps)")
    click.echo(f"{facts['device']}, {facts['precision']}, {facts['threads']} threads; {versions}")


@contextmanager
def _timed(seconds: dict[str, list[float]], stage: str) -> Iterator[None]:
    """Adds the block's seconds to a stage."""
    start = time.perf_counter()
    yield
    seconds.setdefault(stage, []).append(time.perf_counter() - start)


def _large() -> Volume:
    """A phantom at a scanner's resolution: a coarse one with each voxel repeated, and noise that does not compress."""
    import numpy as np

    from abdoseg.image.volume import Geometry, Stored, Volume
    from abdoseg.phantom import phantom

    coarse, _ = phantom(0, (128, 128, 75), [4 * s for s in SPACING_MM], noise_hu=0.0)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 12, SHAPE[:2]).astype(np.int16)
    voxels = np.empty(SHAPE, np.int16, order="F")
    for k in range(SHAPE[2]):
        shifted = np.roll(noise, rng.integers(SHAPE[0], size=2), axis=(0, 1))
        voxels[:, :, k] = coarse.voxels[:, :, k // 4].repeat(4, axis=0).repeat(4, axis=1) + shifted
    geometry = Geometry(SHAPE, np.diag([*SPACING_MM, 1.0]))
    return Volume(voxels, geometry, Stored(geometry))


def _floors(scan: Path, volume: Volume, found: Segmentation) -> dict[str, float]:
    """Seconds that the stages' bytes take at best.

    Reading makes the voxels, resampling reads them and makes the image, labels are made from the network's fields,
    measured (with the HU of the organs alone) and written.
    """
    from isal import igzip

    from abdoseg.io.nifti.writer import LEVEL

    a_byte = _seconds_a_byte()
    labels = found.labelmap.labels.nbytes
    grid = math.prod(found.record.grid["shape"])
    image, fields = 4 * grid, 2 * grid * len(found.rows)
    organs = volume.voxels.itemsize * sum(row.voxels for row in found.rows)
    seconds: dict[str, list[float]] = {}
    with _timed(seconds, "write"):
        igzip.compress(found.labelmap.labels.tobytes(order="A"), LEVEL)
    floors = {
        "read": volume.voxels.nbytes * a_byte,
        "resample": (volume.voxels.nbytes + image) * a_byte,
        "labels": (fields + labels) * a_byte,
        "measure": (labels + organs) * a_byte,
        "write": seconds["write"][0],
    }
    if scan.suffix.lower() == ".gz":
        with _timed(seconds, "read"), igzip.open(scan) as file:
            while file.read(2**22):
                pass
        floors["read"] = seconds["read"][0]
    return floors


def _seconds_a_byte() -> float:
    """To read or to write one byte of memory: of a plain copy, which does both, the best of five."""
    import numpy as np

    source, target = np.ones(2**26, np.uint8), np.empty(2**26, np.uint8)
    seconds: dict[str, list[float]] = {}
    for _ in range(5):
        with _timed(seconds, "copy"):
            np.copyto(target, source)
    return min(seconds["copy"]) / (source.nbytes + target.nbytes)
