"""Dice of perturbed scans against the unperturbed result, a row a perturbation, an organ a column.

python tests/benchmarks/robustness.py                                   # the phantom of `abdoseg demo`
python tests/benchmarks/robustness.py scan.nii.gz --truth labels.nii.gz --labels flare22 [--model FILE] [--quick]

Results are compared on the unperturbed scan's grid, over the voxels that the perturbed scan still shows. A dash: the
organ is in neither. With a truth, a second group of columns has the Dice against it.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from abdoseg.image.resample import resample_image, resample_labels
from abdoseg.image.volume import Geometry, Labelmap, Stored, Volume
from abdoseg.io import read_labels, read_scan
from abdoseg.metrics import dice
from abdoseg.model.weights import load_model
from abdoseg.phantom import phantom
from abdoseg.segmentation import segment

AIR_HU = -1024.0
FAT_HU = -150.0  # anything denser is body


@dataclasses.dataclass(frozen=True, eq=False)
class Perturbed:
    """A scan as the network gets it, and where in the unperturbed scan's space its voxels truly lie."""

    name: str
    scan: Volume
    lies: Geometry


def perturbed(volume: Volume, labels: npt.NDArray[np.uint8], quick: bool) -> Iterator[Perturbed]:
    """Every perturbation of the scan; of each kind the hardest alone when quick. labels: the unperturbed result."""
    yield from _moved(volume, quick)
    yield from _cut(volume, labels, quick)
    yield from _coarse(volume, quick)
    yield from _with_other_values(volume, quick)
    yield from _stored_otherwise(volume, quick)


def _moved(volume: Volume, quick: bool) -> Iterator[Perturbed]:
    """The patient turned or moved in the field of view; the file tells nothing of it."""
    for axis, name in enumerate(("left-right", "front-back", "head-feet")):
        if not quick or axis == 1:
            yield _seen_from(volume, f"turned 10 degrees, {name}", _turned(volume.geometry, axis, 10.0))
    spacing = volume.geometry.spacing_mm
    for name, by_mm in (("17 mm", np.full(3, 17.0)), ("half a voxel", spacing / 2)):
        if not quick or name == "17 mm":
            affine = volume.geometry.affine.copy()
            affine[:3, 3] += by_mm
            yield _seen_from(volume, f"moved by {name}", Geometry(volume.geometry.shape, affine))


def _seen_from(volume: Volume, name: str, lies: Geometry) -> Perturbed:
    """The scan's HU at another grid, under the affine that the scan had."""
    return Perturbed(name, _with(volume, resample_image(volume.voxels, volume.geometry, lies, AIR_HU)), lies)


def _turned(geometry: Geometry, axis: int, degrees: float) -> Geometry:
    """The same grid turned about its own centre, around a world axis."""
    angle = np.radians(degrees)
    others = [other for other in range(3) if other != axis]
    turn = np.eye(4)
    turn[np.ix_(others, others)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    centre = np.eye(4)
    centre[:3, 3] = geometry.corners_mm().mean(axis=0)
    return Geometry(geometry.shape, centre @ turn @ np.linalg.inv(centre) @ geometry.affine)


def _cut(volume: Volume, labels: npt.NDArray[np.uint8], quick: bool) -> Iterator[Perturbed]:
    """Half of the scan, cut through the middle of the organs that were found (of the scan, when there are none)."""
    for name, axis, keeps_upper in (("upper", 2, True), ("lower", 2, False), ("left", 0, False)):
        if quick and name != "upper":
            continue
        filled = np.flatnonzero(labels.any(axis=tuple(other for other in range(3) if other != axis)))
        middle = int(filled[[0, -1]].mean()) if len(filled) else labels.shape[axis] // 2
        start, stop = [0, 0, 0], list(labels.shape)
        (start if keeps_upper else stop)[axis] = max(1, middle)
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        geometry = volume.geometry.cropped(start, stop)
        yield Perturbed(f"the {name} half alone", _on(volume.voxels[box], geometry), geometry)


def _coarse(volume: Volume, quick: bool) -> Iterator[Perturbed]:
    """Thicker slices and larger pixels, HU averaged; those that the scan has already are left out."""
    x, y, z = volume.geometry.spacing_mm
    for name, spacing in (
        ("slices of 5 mm", (x, y, 5.0)),
        ("slices of 8 mm", (x, y, 8.0)),
        ("4 mm in plane", (4.0, 4.0, z)),
    ):
        if max(np.divide(spacing, (x, y, z))) > 1.05 and (not quick or "5" not in name):
            geometry = volume.geometry.resampled(spacing)
            yield Perturbed(name, _on(resample_image(volume.voxels, volume.geometry, geometry), geometry), geometry)


def _with_other_values(volume: Volume, quick: bool) -> Iterator[Perturbed]:
    """Other noise, calibration, range and type of the voxels, where they were."""
    rng = np.random.default_rng(0)
    hu = volume.voxels.astype(np.float32)
    white = rng.standard_normal(hu.shape, dtype=np.float32)
    changed: dict[str, Callable[[], npt.NDArray[np.generic]]] = {
        "noise of 10 HU": lambda: hu + 10 * white,
        "noise of 20 HU": lambda: hu + 20 * white,
        "noise of 40 HU": lambda: hu + 40 * white,
        "20 HU more": lambda: hu + 20 * (hu > FAT_HU),
        "20 HU less": lambda: hu - 20 * (hu > FAT_HU),
        "clipped to -160..240": lambda: hu.clip(-160, 240),
        "clipped to -125..275": lambda: hu.clip(-125, 275),
        "bone and gas at full range": lambda: np.where(hu >= 240, 3 * hu, np.where(hu <= -120, AIR_HU, hu)),
        "float32 for int16": lambda: hu,
        "int16, rounded to 8": lambda: (8 * np.rint(hu / 8)).astype(np.int16),
    }
    for name in ("noise of 40 HU", "20 HU more", "clipped to -160..240") if quick else changed:
        yield Perturbed(name, _with(volume, changed[name]()), volume.geometry)


def _stored_otherwise(volume: Volume, quick: bool) -> Iterator[Perturbed]:
    """The same voxels under other axes; and an oblique grid, whose affine says so."""
    for axes in ("LPI",) if quick else ("LPI", "ASL"):
        stored = _stored_as(volume.geometry, axes)
        array = stored.from_canonical(volume.voxels).copy(order="F")
        turned = Volume(stored.to_canonical(array), stored.canonical(), stored)
        yield Perturbed(f"stored as {axes}", turned, volume.geometry)
    for degrees in () if quick else (12.0, 30.0):
        lies = _turned(volume.geometry, 2, degrees)
        voxels = resample_image(volume.voxels, volume.geometry, lies, AIR_HU)
        yield Perturbed(f"oblique by {degrees:g} degrees", _on(voxels, lies), lies)


def _stored_as(geometry: Geometry, axes: str) -> Stored:
    """The canonical grid with its array axes pointing as the letters say."""
    affine, shape = np.eye(4), [0, 0, 0]
    affine[:3, 3] = geometry.affine[:3, 3]
    for axis, letter in enumerate(axes):
        world = next(number for number, ends in enumerate(("LR", "PA", "IS")) if letter in ends)
        column = geometry.affine[:3, world]
        shape[axis], affine[:3, axis] = geometry.shape[world], column
        if letter in "LPI":
            affine[:3, axis] = -column
            affine[:3, 3] += column * (geometry.shape[world] - 1)
    return Stored(Geometry((shape[0], shape[1], shape[2]), affine))


def _with(volume: Volume, voxels: npt.NDArray[np.generic]) -> Volume:
    return dataclasses.replace(volume, voxels=voxels)


def _on(voxels: npt.NDArray[np.generic], geometry: Geometry) -> Volume:
    return Volume(voxels, geometry, Stored(geometry))


def table(name: str, volume: Volume, truth: Labelmap | None, model_name: str | None, quick: bool) -> None:
    """Prints a scan's table, line by line as its perturbations are segmented."""
    model = load_model(model_name)
    plain = segment(volume, model).labelmap
    organs = list(plain.organs.items())
    print(f"\n{name}: {' x '.join(map(str, volume.voxels.shape))} voxels of "
          f"{' x '.join(f'{s:.3g}' for s in volume.geometry.spacing_mm)} mm")  # fmt: skip
    columns = "".join(f"{organ:>13}" for _, organ in organs)
    print(
        f"{'Dice against':<32}{'the unperturbed result':>{len(columns)}}"
        + (f"{'the truth':>{len(columns)}}" if truth else "")
    )
    print(f"{'':<32}{columns}{columns if truth else ''}")

    def line(what: str, labels: npt.NDArray[np.uint8], kept: npt.NDArray[np.bool_]) -> None:
        values = [dice((plain.labels == label) & kept, labels == label) for label, _ in organs]
        if truth:
            values += [dice(truth.mask(organ) & kept, labels == label) for label, organ in organs]
        print(f"{what:<32}" + "".join(f"{'-' if np.isnan(v) else f'{v:.3f}':>13}" for v in values), flush=True)

    if truth:
        line("unperturbed", plain.labels, np.ones(plain.labels.shape, bool))
    for one in perturbed(volume, plain.labels, quick):
        labels = segment(one.scan, model).labelmap.labels
        kept = _covered(one.lies, volume.geometry)
        line(one.name, resample_labels(labels, one.lies, volume.geometry) * kept, kept)


def _covered(part: Geometry, whole: Geometry) -> npt.NDArray[np.bool_]:
    """(I, J, K) of `whole`: the voxels whose centres lie in the box of `part`."""
    matrix = np.linalg.inv(part.affine) @ whole.affine
    at = np.einsum("ab,b...->a...", matrix[:3, :3], np.indices(whole.shape)) + matrix[:3, 3, None, None, None]
    last = np.array(part.shape)[:, None, None, None]
    return np.asarray(((at > -0.501) & (at < last - 0.499)).all(axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", nargs="*", help="anything that abdoseg reads; a phantom when none is named")
    parser.add_argument("--truth", action="append", default=[], help="labels, one file a scan in their order")
    parser.add_argument("--labels", default="abdoseg", help="scheme of the truths")
    parser.add_argument("--model", help="weights file; the bundled one when not named")
    parser.add_argument("--quick", action="store_true", help="of each kind of perturbation one")
    chosen = parser.parse_args()
    if not chosen.scans:
        volume, truth = phantom(0)
        table("phantom 0", volume, truth, chosen.model, chosen.quick)
    for number, scan in enumerate(chosen.scans):
        known = read_labels(chosen.truth[number], chosen.labels) if number < len(chosen.truth) else None
        table(scan, read_scan(scan), known, chosen.model, chosen.quick)


if __name__ == "__main__":
    main()
