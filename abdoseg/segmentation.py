"""A scan to a labelmap: the story on one page."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from abdoseg import __version__
from abdoseg.anatomy.organs import BY_NAME
from abdoseg.errors import ModelError, ResourceError
from abdoseg.image.resample import resample_image, upsample_labels
from abdoseg.image.volume import Geometry, Labelmap, Volume
from abdoseg.image.volumetry import OrganVolume, measure
from abdoseg.inference.backend import precision
from abdoseg.inference.coarse_to_fine import predict_located
from abdoseg.inference.postprocess import middle_of, part_sides, tidy
from abdoseg.inference.sliding_window import MOST_VOXELS
from abdoseg.io import read_scan
from abdoseg.model.device import fastest_float
from abdoseg.model.plan import Plan, members
from abdoseg.model.weights import Model, load_model
from abdoseg.quality import Findings, Quality, assess, examine, implausible, sentences
from abdoseg.quality.laterality import seems_mirrored
from abdoseg.runtime.memory import peak_memory
from abdoseg.runtime.progress import Track, silent

Fields = npt.NDArray[np.float16]
SKEWED_DEGREES = 2.0  # between axes: beyond, the network gets an orthogonal grid
TURNED_DEGREES = 20.0  # from the patient's axes: beyond, the network gets them upright


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One case's result. quality: by organ. record: the run's facts, JSON-able, without patient data."""

    labelmap: Labelmap
    rows: list[OrganVolume]
    quality: dict[str, Quality]
    record: dict[str, Any]

    @property
    def warnings(self) -> list[str]:
        """What a person should look at."""
        return list(self.record["warnings"])


def segment(
    volume: Volume,
    model: Model,
    *,
    organs: Sequence[str] | None = None,
    max_memory: int | None = None,
    track: Track = silent,
) -> Segmentation:
    """Labels the scan's organs on the scan's own grid.

    organs: names, from those that the model knows; its delivered ones if not named. max_memory: bytes that the process
    may take; smaller tiles are used, or ResourceError raised before any work. Raises ModelError for unknown organs.
    """
    plan = model.plan
    names = _names(plan, organs)
    most = largest_tile(volume.geometry, plan, model.device, max_memory)
    watch = Stopwatch()
    with watch("resample"):
        grid = network_grid(volume.geometry, plan)
        image = resample_image(volume.voxels, volume.geometry, grid, outside=plan.window_hu[0])
    with watch("network"):
        channels = tuple(dict.fromkeys(_channel(plan, organ) for organ in names))
        fields = predict_located(model, image, channels, most, track).values
    with watch("postprocess"):
        middle = middle_of(image > plan.window_hu[0])
        fields = _by_organ(fields, channels, names, (grid.shape[0] - 1) / 2 if middle is None else middle)
        changes = tidy(fields, names, image, grid, middle)
        boxes = {organ: change.within for organ, change in changes.items()}
        evidence = examine(fields, names, image, grid, boxes)
        removed = implausible(evidence, image, grid.voxel_ml, plan.presence_threshold)
        for organ in removed:
            del evidence[organ]
    with watch("labels"):
        labels = volume.stored.to_canonical(np.empty(volume.stored.geometry.shape, np.uint8, order="F"))
        there = {BY_NAME[organ].label: fields[names.index(organ)] for organ in evidence}
        within = {BY_NAME[organ].label: boxes[organ] for organ in evidence}
        painted = upsample_labels(there, grid, volume.geometry, labels, within)
    labelmap = Labelmap(labels, volume.geometry, volume.stored, {BY_NAME[organ].label: organ for organ in names})
    with watch("measure"):
        rows = measure(labelmap, volume.voxels, painted)
    with watch("quality"):
        quality = assess(Findings(rows, evidence, changes, removed, grid, middle))
        mirrored = seems_mirrored(model, image, grid, evidence, most) if {"liver", "spleen"} <= set(names) else None
    record = {
        "versions": versions(),
        "model": {"digest": model.digest, "organs": list(names)},
        "device": str(model.device),
        "precision": str(precision(model)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "seconds": watch.seconds,
        "peak_memory_bytes": peak_memory(),
        "input": describe(volume),
        "grid": {"shape": list(grid.shape), "spacing_mm": [round(float(s), 4) for s in grid.spacing_mm]},
        "changes": [line for organ, change in changes.items() for line in change.sentences(organ)],
        "removed": removed,
        "quality": {organ: asdict(found) | {"review": found.review} for organ, found in quality.items()},
        "warnings": [*filter(None, [mirrored]), *sentences(rows, quality, removed)],
    }
    return Segmentation(labelmap, rows, quality, record)


def segment_scan(
    scan: str | Path | Volume,
    *,
    model: str | Path | Model | None = None,
    device: str = "auto",
    organs: Sequence[str] | None = None,
) -> Labelmap:
    """The labelmap of a scan: a path to anything that `read_scan` reads, or a Volume. Available as `abdoseg.segment`.

    model: a weights file, a bundled model's name, or a loaded one, which saves time from the second scan on.
    """
    volume = scan if isinstance(scan, Volume) else read_scan(scan)
    loaded = model if isinstance(model, Model) else load_model(model, device)
    return segment(volume, loaded, organs=organs).labelmap


def network_grid(geometry: Geometry, plan: Plan) -> Geometry:
    """The grid that the network sees: the scan's box at the plan's spacing, along the scan's own axes.

    A sheared scan (a tilted gantry) gets the nearest orthogonal axes, one that lies askew to the patient the
    patient's; both a box that holds the whole scan.
    """
    if plan.inference_spacing_mm is None:
        return plan.grid(geometry)
    askew = geometry.turned_degrees > TURNED_DEGREES
    if geometry.shear_degrees < SKEWED_DEGREES and not askew:
        return geometry.resampled(plan.inference_spacing_mm)
    axes = np.eye(3) if askew else geometry.upright
    spacing = np.array(plan.inference_spacing_mm)
    corners = geometry.corners_mm() @ axes  # (8, 3) along the new axes
    low, high = corners.min(axis=0), corners.max(axis=0)
    shape = np.ceil((high - low) / spacing).astype(int) + 1
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = axes @ ((low + high) / 2 - (shape - 1) * spacing / 2)
    return Geometry((int(shape[0]), int(shape[1]), int(shape[2])), affine)


# Measured on two cores, 512 x 512 x 300 and x 1000 and a coarse scan: seconds of float32 as bytes, its memory as it is;
# in bfloat16 before there was a coarse look, and the seconds are that share of those. See tests/benchmarks.
START_SECONDS, START_BYTES = 1.3, 420 * 2**20
SECONDS_PER_VOXEL, BYTES_PER_VOXEL = 0.6e-8, 3.3  # of the scan: reading, labels, writing
SECONDS_PER_NETWORK_VOXEL = {torch.bfloat16: 0.7e-7, torch.float32: 1.4e-7}
BYTES_PER_NETWORK_VOXEL = 4 + 1 + 2 * 4  # image, mask, fields of four organs
BYTES_PER_TILE_VOXEL = {torch.bfloat16: 60, torch.float32: 120}


def estimate(
    geometry: Geometry, plan: Plan, device: torch.device | None = None, most_voxels: int = MOST_VOXELS
) -> tuple[float, int]:
    """Seconds and bytes that `abdoseg segment` will take for such a scan, as a whole process.

    On a GPU unmeasured: its own memory is not in the bytes, and the seconds are a processor's.
    """
    dtype = fastest_float(device or torch.device("cpu"))
    scan, network = float(np.prod(geometry.shape)), float(np.prod(network_grid(geometry, plan).shape))
    seconds = START_SECONDS + scan * SECONDS_PER_VOXEL + network * SECONDS_PER_NETWORK_VOXEL[dtype]
    size = START_BYTES + scan * BYTES_PER_VOXEL + network * BYTES_PER_NETWORK_VOXEL
    return seconds, int(size + min(network, most_voxels) * BYTES_PER_TILE_VOXEL[dtype])


def describe(volume: Volume) -> dict[str, Any]:
    """The scan's geometry as it was stored, and what reading found out about it."""
    stored = volume.stored.geometry
    return {
        "shape": list(stored.shape),
        "spacing_mm": [round(float(s), 6) for s in stored.spacing_mm],
        "affine": stored.affine.tolist(),
        "axes": stored.axes,
        "shear_degrees": round(stored.shear_degrees, 3),
        "notes": list(volume.notes),
    }


def versions() -> dict[str, str]:
    """What computed the result."""
    return {
        "abdoseg": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


class Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - start, 4)


def _names(plan: Plan, organs: Sequence[str] | None) -> tuple[str, ...]:
    """The organs to deliver, in the order of their labels. Raises ModelError for those that the model does not know."""
    known = {organ for channel in plan.organs for organ in members(channel)}
    wanted = {organ for channel in (plan.output_organs if organs is None else organs) for organ in members(channel)}
    if not wanted <= known:
        raise ModelError(
            f"the model does not know {', '.join(sorted(wanted - known))}; it knows {', '.join(sorted(known))}"
        )
    return tuple(sorted(wanted, key=lambda organ: BY_NAME[organ].label))


def _channel(plan: Plan, organ: str) -> str:
    """The network's channel that shows the organ: its own, or that of both sides together."""
    return next(channel for channel in plan.organs if organ in members(channel))


def _by_organ(fields: Fields, channels: tuple[str, ...], names: tuple[str, ...], middle: float) -> Fields:
    """A field an organ, in the order of `names`; a channel for both sides is parted at the body's middle."""
    if channels == names:
        return fields
    organs: dict[str, Fields] = {}
    for field, channel in zip(fields, channels, strict=True):
        sides = members(channel)
        organs |= dict(zip(sides, (field,) if len(sides) == 1 else part_sides(field, middle), strict=True))
    return np.stack([organs[name] for name in names])


def largest_tile(geometry: Geometry, plan: Plan, device: torch.device, max_memory: int | None) -> int:
    """How many voxels a tile may have. Raises ResourceError when even the smallest does not fit into `max_memory`."""
    if max_memory is None:
        return MOST_VOXELS
    patch = int(np.prod(plan.patch))
    needed = estimate(geometry, plan, device, patch)[1]
    if needed <= max_memory:
        return min(MOST_VOXELS, patch + (max_memory - needed) // BYTES_PER_TILE_VOXEL[fastest_float(device)])
    size = " x ".join(str(n) for n in geometry.shape)
    raise ResourceError(
        f"a scan of {size} voxels needs about {needed / 2**30:.1f} GB, "
        f"--max-memory allows {max_memory / 2**30:.1f} GB; allow more, or crop the scan"
    )
