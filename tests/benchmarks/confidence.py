"""Collects segmentations of changed scans and fits `abdoseg.quality.confidence` to them.

    abdoseg prepare --data FLARE22/ --data labelmaps/ --recipe RECIPE --cache prepared/
    python tests/benchmarks/confidence.py collect prepared/* -o samples/ [--model FILE] [--samples 250]

A sample is a prepared case, turned, scaled and deformed, or a synthetic patient of its tissue map; then with one or two
of CHANGES. `collect` keeps the network's answer before any post-processing. A second run goes on where the first was
ended.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from abdoseg.anatomy.organs import MAIN
from abdoseg.cli.process import tune_process
from abdoseg.image.volume import Geometry
from abdoseg.inference.coarse_to_fine import coarse_to_fine
from abdoseg.model.weights import Model, load_model
from abdoseg.training.augment.rng import Rng
from abdoseg.training.augment.synthesis import synthesize_ct
from abdoseg.training.augment.tensor_filters import gaussian_blur, thick_slices
from abdoseg.training.augment.transforms import (
    Augmentation,
    PatchRegion,
    change_phase,
    random_coordinates,
)
from abdoseg.training.data.cache import PreparedCase, load_prepared

HU = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
Spacing = Sequence[float]
DEFORMED = Augmentation(rotate_degrees=18.0, scale=(0.75, 1.3), stretch=0.08, elastic_mm=6.0)
STOMACH = 13
AROUND_MM = 60.0  # of the scan that is kept above and below the organs
HU_START, HU_STEP, MARGIN_STEPS = -200, 2, 8  # images and margins are kept in bytes


@dataclass(frozen=True, eq=False)
class Sample:
    """A changed scan. image: (I, J, K) HU. labels: the truth, (I, J, K) in our numbers. changes: their names."""

    image: HU
    labels: Labels
    changes: tuple[str, ...]


def _noise(image: HU, labels: Labels, spacing_mm: Spacing, rng: Rng) -> HU:
    return image + float(np.exp(rng.uniform(np.log(15), np.log(110)))) * rng.noise(image.shape).numpy()


def _streaks(image: HU, labels: Labels, spacing_mm: Spacing, rng: Rng) -> HU:
    """Noise that is the same from side to side, as arms beside the trunk make it."""
    streaks = gaussian_blur(rng.noise(image.shape), (12.0, 0.6, 0.0)).numpy()
    return np.asarray(image + rng.uniform(20, 90) * streaks / streaks.std(), np.float32)


def _calibration(image: HU, labels: Labels, spacing_mm: Spacing, rng: Rng) -> HU:
    shift, gain = rng.uniform(-70, 70), rng.uniform(0.6, 1.5)
    return np.where(image > -150, 50 + (image - 50) * gain + shift, image)


def _thick(image: HU, labels: Labels, spacing_mm: Spacing, rng: Rng) -> HU:
    count = max(2, round(image.shape[2] * spacing_mm[2] / rng.uniform(5, 15)))
    return np.asarray(thick_slices(torch.from_numpy(image), count).numpy())


def _blur(image: HU, labels: Labels, spacing_mm: Spacing, rng: Rng) -> HU:
    sigma_mm = rng.uniform(2, 6)
    return np.asarray(gaussian_blur(torch.from_numpy(image), [sigma_mm / s for s in spacing_mm]).numpy())


def _phase(image: HU, labels: Labels, spacing_mm: Spacing, rng: Rng) -> HU:
    return np.asarray(change_phase(torch.from_numpy(image), torch.from_numpy(labels), rng).numpy())


def _organ_hu(image: HU, labels: Labels, spacing_mm: Spacing, rng: Rng) -> HU:
    """One organ brighter or darker, as disease makes it."""
    here = labels == 1 + rng.integers(len(MAIN))
    return image + rng.uniform(-90, 60) * ndimage.gaussian_filter(here.astype(np.float32), 0.8)


def _fluid(image: HU, labels: Labels, spacing_mm: Spacing, rng: Rng) -> HU:
    """Fluid instead of fat around liver and spleen."""
    gap_mm = ndimage.distance_transform_edt(~np.isin(labels, (1, 4)), sampling=spacing_mm)
    wet = (gap_mm < rng.uniform(5, 30)) & (labels == 0) & (image < 20) & (image > -200)
    return np.where(wet, rng.uniform(0, 20) + 8 * rng.noise(image.shape).numpy(), image)


def _mass(image: HU, labels: Labels, spacing_mm: Spacing, rng: Rng) -> HU:
    """A ball at an organ's border, about as bright as it, instead of whatever is there but the four organs."""
    here = labels == 1 + rng.integers(len(MAIN))
    border = np.argwhere(here & ~ndimage.binary_erosion(here))
    if not len(border):
        return image
    centre, radius_mm = border[rng.integers(len(border))], rng.uniform(15, 60)
    i, j, k = (((np.arange(n) - c) * s) ** 2 for n, c, s in zip(image.shape, centre, spacing_mm, strict=True))
    ball = (i[:, None, None] + j[:, None] + k < radius_mm**2) & ~np.isin(labels, (1, 2, 3, 4)) & (image > -300)
    hu = float(np.median(image[here])) + rng.uniform(-60, 30)
    return np.where(ball, hu + 8 * rng.noise(image.shape).numpy(), image)


def _stomach(image: HU, labels: Labels, spacing_mm: Spacing, rng: Rng) -> HU:
    """A stomach, or where none is labelled whatever lies before the spleen, as bright as the spleen."""
    spleen, here = labels == 4, labels == STOMACH
    if not spleen.any():
        return image
    if not here.any():
        steps = round(40 / spacing_mm[1])
        here = np.roll(spleen, steps, axis=1) & (labels == 0) & (image > -300)
    hu = float(np.median(image[spleen])) + rng.uniform(-25, 25)
    return np.where(here, hu + 6 * rng.noise(image.shape).numpy(), image)


CHANGES: dict[str, Callable[[HU, Labels, Spacing, Rng], HU]] = {
    "noise": _noise, "streaks": _streaks, "calibration": _calibration, "thick slices": _thick, "blur": _blur,
    "phase": _phase, "organ's HU": _organ_hu, "fluid": _fluid, "mass": _mass, "bright stomach": _stomach,
}  # fmt: skip


def drawn(prepared: PreparedCase, seed: int) -> Sample:
    """The sample of a number: the case deformed, or a synthetic patient, cut off in some, with some of CHANGES."""
    rng = Rng(seed)
    labels = prepared.array("labels")
    planes = np.flatnonzero(np.isin(labels, (1, 2, 3, 4)).any(axis=(0, 1)))
    around = round(AROUND_MM / prepared.spacing_mm[2])
    low, high = max(0, int(planes[0]) - around), min(labels.shape[2], int(planes[-1]) + 1 + around)
    centre = [(n - 1) / 2 for n in labels.shape[:2]] + [(low + high - 1) / 2]
    shape = (*labels.shape[:2], high - low)
    coordinates, _ = random_coordinates(centre, shape, prepared.spacing_mm, DEFORMED, rng)
    region = PatchRegion.around(coordinates, labels.shape)
    truth = region.sample(labels, 0.0, nearest=True).numpy().astype(np.uint8)
    synthetic = "tissues" in prepared.digests and (not prepared.has_image or rng.bernoulli(0.3))
    if synthetic:
        tissues = region.sample(prepared.array("tissues"), 0.0, nearest=True).to(torch.uint8)
        image = synthesize_ct(tissues, prepared.spacing_mm, rng).numpy()
    else:
        image = region.sample(prepared.array("image"), -1000.0).numpy()
    names = ["synthetic"] if synthetic else ["deformed"]
    for name in [list(CHANGES)[n] for n in rng.permutation(len(CHANGES))][: rng.integers(3)]:
        image, names = CHANGES[name](image, truth, prepared.spacing_mm, rng), [*names, name]
    if rng.bernoulli(0.25):
        axis, part = (2, 2, 0)[rng.integers(3)], rng.uniform(0.3, 0.7)
        kept = [slice(None)] * 3
        at = round(part * image.shape[axis])
        kept[axis] = slice(at, None) if rng.bernoulli(0.5) else slice(0, at)
        image, truth, names = image[tuple(kept)], truth[tuple(kept)], [*names, "cut"]
    return Sample(np.asfortranarray(image, np.float32), truth, tuple(names))


def unchanged(prepared: PreparedCase) -> Sample:
    """The case as it is."""
    image = np.asfortranarray(prepared.array("image"), np.float32)
    return Sample(image, np.array(prepared.array("labels")), ())


def collect(model: Model, cases: Sequence[PreparedCase], count: int, folder: Path) -> Iterator[Path]:
    """Segments the samples that are not there yet: first every case as it is, then as many changed ones as asked for.

    In each file image, labels and margins are in bytes; margins in a box of each organ's own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with_image = [prepared for prepared in cases if prepared.has_image]
    plans = [(prepared, None) for prepared in with_image]
    plans += [(cases[Rng(10_000 + seed).integers(len(cases))], seed) for seed in range(count)]
    for prepared, seed in plans:
        file = folder / f"{prepared.case}{'' if seed is None else f'.{seed}'}.npz"
        if file.exists():
            continue
        sample = unchanged(prepared) if seed is None else drawn(prepared, seed)
        grid = Geometry(sample.image.shape, np.diag([*prepared.spacing_mm, 1.0]))
        image = sample.image.clip(HU_START, HU_START + 255 * HU_STEP)
        maps = coarse_to_fine(model, image, grid, MAIN)
        facts = {"case": prepared.case, "patient": prepared.patient or prepared.case, "changes": sample.changes,
                 "annotated": prepared.annotated, "spacing_mm": prepared.spacing_mm}  # fmt: skip
        arrays = {"image": ((image - HU_START) / HU_STEP).round().astype(np.uint8), "labels": sample.labels}
        for organ in MAIN:
            if box := maps.box(organ):
                wide = tuple(slice(max(0, part.start - 2), part.stop + 2) for part in box)
                steps = np.rint(maps.margin(organ)[wide].astype(np.float32) * MARGIN_STEPS).clip(-127, 127)
                arrays[organ] = np.where((steps == 0) & (maps.margin(organ)[wide] > 0), 1, steps).astype(np.int8)
                arrays[f"{organ}.start"] = np.array([part.start for part in wide])
        np.savez(file, facts=json.dumps(facts), **arrays)
        yield file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = parser.add_subparsers(dest="stage", required=True)
    collecting = stages.add_parser("collect")
    collecting.add_argument("folders", nargs="+", type=Path, help="that abdoseg prepare wrote, on the model's grid")
    collecting.add_argument("-o", "--output", type=Path, required=True)
    collecting.add_argument("--model", help="weights file; the bundled one when not named")
    collecting.add_argument("--samples", type=int, default=250)
    chosen = parser.parse_args()
    tune_process()
    cases = [prepared for folder in chosen.folders for prepared in load_prepared(folder)]
    for file in collect(load_model(chosen.model, "cpu"), cases, chosen.samples, chosen.output):
        print(file, flush=True)


if __name__ == "__main__":
    main()
