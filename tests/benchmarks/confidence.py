"""Collects segmentations of changed scans and fits `abdoseg.quality.confidence` to them.

    abdoseg prepare --data FLARE22/ --data labelmaps/ --recipe RECIPE --cache prepared/
    python tests/benchmarks/confidence.py collect prepared/* -o samples/ [--model FILE] [--samples 250]
    python tests/benchmarks/confidence.py fit samples/ [--picture man/pictures/reliability.svg]

A sample is a prepared case, turned, scaled and deformed, or a synthetic patient of its tissue map, every other with a
painted disease; then with one or two of CHANGES. `collect` keeps the network's answer before any post-processing; a
second run goes on where the first was ended. `fit` post-processes it and prints the weights, and what they are worth in
scans of patients that did not fit them: AUROC, a reliability table, and what a threshold for review misses and what it
flags needlessly.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from scipy.stats import rankdata

from abdoseg.anatomy.organs import BY_NAME, LESIONS, MAIN, host_of
from abdoseg.cli.process import tune_process
from abdoseg.image.organ_maps import OrganMaps
from abdoseg.image.volume import Geometry
from abdoseg.inference.coarse_to_fine import coarse_to_fine
from abdoseg.inference.postprocess import body_middle, postprocess
from abdoseg.metrics import dice
from abdoseg.model.weights import Model, load_model
from abdoseg.quality import examine, implausible
from abdoseg.quality.confidence import POOR_DICE, features
from abdoseg.rendering.charts import DataPoint, Series, line_chart, svg_file
from abdoseg.training.augment.diseases import DISEASES
from abdoseg.training.augment.patch_anatomy import Anatomy
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
SYNTHETIC = 0.4  # of the samples of cases that have a tissue map
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


def organ_labels(prepared: PreparedCase) -> Labels:
    """(I, J, K) the case's labels; lesions are part of their organ."""
    labels = np.array(prepared.array("labels"))
    for lesion in LESIONS:
        labels[labels == BY_NAME[lesion].label] = BY_NAME[host_of(lesion)].label
    return labels


def drawn(prepared: PreparedCase, seed: int) -> Sample:
    """The sample of a number: the case deformed, or a synthetic patient, cut off in some, with some of CHANGES.

    Half of the synthetic patients have a disease.
    """
    rng = Rng(seed)
    labels = organ_labels(prepared)
    planes = np.flatnonzero(np.isin(labels, (1, 2, 3, 4)).any(axis=(0, 1)))
    around = round(AROUND_MM / prepared.spacing_mm[2])
    low, high = max(0, int(planes[0]) - around), min(labels.shape[2], int(planes[-1]) + 1 + around)
    centre = [(n - 1) / 2 for n in labels.shape[:2]] + [(low + high - 1) / 2]
    shape = (*labels.shape[:2], high - low)
    coordinates, _ = random_coordinates(centre, shape, prepared.spacing_mm, DEFORMED, rng)
    region = PatchRegion.around(coordinates, labels.shape)
    truth = region.sample(labels, 0.0, nearest=True).numpy().astype(np.uint8)
    if "tissues" in prepared.digests and (not prepared.has_image or rng.bernoulli(SYNTHETIC)):
        tissues = region.sample(prepared.array("tissues"), 0.0, nearest=True).to(torch.uint8)
        anatomy, names = Anatomy(tissues, torch.from_numpy(truth), prepared.spacing_mm), ["synthetic"]
        if rng.bernoulli(0.5):
            disease = list(DISEASES)[rng.integers(len(DISEASES))]
            anatomy, names = DISEASES[disease][1](anatomy, rng), [*names, disease]
        truth = anatomy.labels.numpy()
        image = synthesize_ct(anatomy.tissues, prepared.spacing_mm, rng, anatomy.phase).numpy()
    else:
        image, names = region.sample(prepared.array("image"), -1000.0).numpy(), ["deformed"]
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
    return Sample(image, organ_labels(prepared), ())


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


@dataclass(frozen=True, eq=False)
class Outcome:
    """An organ of a sample: its features, its Dice against the truth."""

    patient: str
    organ: str
    features: npt.NDArray[np.float64]
    dice: float


def outcomes(file: Path, presence_threshold: float) -> Iterator[Outcome]:
    """The organs of a sample that were found and of which the truth is known, post-processed as `segment` does."""
    sample = np.load(file)
    facts, labels = json.loads(str(sample["facts"])), sample["labels"]
    image = np.asfortranarray(HU_START + HU_STEP * sample["image"].astype(np.float32))
    grid = Geometry(image.shape, np.diag([*facts["spacing_mm"], 1.0]))
    margins = np.full((len(MAIN), *image.shape), -1, np.float16)
    for margin, organ in zip(margins, MAIN, strict=True):
        if organ in sample:
            kept, start = sample[organ], sample[f"{organ}.start"]
            margin[tuple(slice(a, a + n) for a, n in zip(start, kept.shape, strict=True))] = kept / MARGIN_STEPS
    maps, changes = postprocess(OrganMaps(margins, MAIN, grid), image, body_middle(image > -125))
    evidence = examine(maps, image)
    removed = implausible(evidence, image, grid.voxel_ml, presence_threshold)
    evidence = {organ: found for organ, found in evidence.items() if organ not in removed}
    for label, organ in enumerate(MAIN, start=1):
        if organ in evidence and organ in facts["annotated"]:
            values = features(organ, evidence, changes[organ].dropped_ml)
            yield Outcome(facts["patient"], organ, values, dice(labels == label, maps.mask(organ)))


def logistic_fit(features_: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(F,) the weights of a logistic regression of a target in [0, 1], by Newton's steps with a small ridge."""
    weights = np.zeros(features_.shape[1])
    ridge = np.diag([1e-6, *[2.0] * (len(weights) - 1)])
    for _ in range(50):
        probability = 1 / (1 + np.exp(-features_ @ weights))
        curvature = (features_.T * (probability * (1 - probability))) @ features_ + ridge
        weights += np.linalg.solve(curvature, features_.T @ (target - probability) - ridge @ weights)
    return weights


def cross_validated(
    found: Sequence[Outcome], target: npt.NDArray[np.float64], folds: int = 10
) -> npt.NDArray[np.float64]:
    """(N,) what weights predict that were fitted without the patient's fold."""
    values = np.array([one.features for one in found])
    patients = np.random.default_rng(0).permutation(sorted({one.patient for one in found})).tolist()
    fold = np.array([patients.index(one.patient) % folds for one in found])
    predicted = np.empty(len(found))
    for number in range(folds):
        weights = logistic_fit(values[fold != number], target[fold != number])
        predicted[fold == number] = 1 / (1 + np.exp(-values[fold == number] @ weights))
    return predicted


def auroc(score: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float:
    """The probability that a positive one has a higher score than a negative one; NaN without both."""
    ranks = rankdata(score)
    count, rest = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * rest)) if count and rest else np.nan


@dataclass(frozen=True)
class Bin:
    """Organs whose predicted probability of a poor Dice is in [low, high): its mean, and the fraction that is poor."""

    low: float
    high: float
    organs: int
    mean: float
    poor: float


def reliability(p_poor: npt.NDArray[np.float64], poor: npt.NDArray[np.bool_]) -> list[Bin]:
    """The bins that have organs."""
    bins = []
    for low, high in pairwise((0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.01)):
        here = (p_poor >= low) & (p_poor < high)
        if here.any():
            bins.append(Bin(low, min(high, 1), int(here.sum()), float(p_poor[here].mean()), float(poor[here].mean())))
    return bins


def reliability_diagram(bins: Sequence[Bin]) -> str:
    """The text of an SVG file: what of the organs is poor against what was predicted, and the diagonal."""
    names = [f"{one.organs} organs, {one.low} to {one.high}" for one in bins]
    found = [DataPoint(one.poor, name, one.mean) for one, name in zip(bins, names, strict=True)]
    diagonal = (DataPoint(0.0, "", 0.0), DataPoint(1.0, "", 1.0))
    series = [Series("as predicted", "#9aa4b2", diagonal), Series("found", "#3b82f6", tuple(found))]
    chart = line_chart(series, f"Dice below {POOR_DICE}", "predicted probability", "fraction of the organs", (0.0, 1.0))
    return svg_file([chart])


def report(found: Sequence[Outcome], picture: Path | None) -> Iterator[str]:
    """The lines that `fit` prints; the reliability diagram is written to `picture`."""
    values, truth = np.array([one.features for one in found]), np.array([one.dice for one in found])
    poor, organs = truth < POOR_DICE, np.array([one.organ for one in found])
    p_poor, expected = cross_validated(found, poor.astype(float)), cross_validated(found, truth)
    yield f"{len(found)} organs of {len({one.patient for one in found})} patients, {poor.mean():.1%} below {POOR_DICE}"
    for name, target in (("POOR_WEIGHTS", poor.astype(float)), ("DICE_WEIGHTS", truth)):
        yield f"{name} = ({', '.join(f'{weight:.3f}' for weight in logistic_fit(values, target))})"
    yield f"AUROC {auroc(p_poor, poor):.3f}, of the mean probability alone {auroc(values[:, 1], poor):.3f}"
    yield from (f"  {organ} {auroc(p_poor[organs == organ], poor[organs == organ]):.3f}" for organ in MAIN)
    yield f"predicted Dice: off by {np.abs(expected - truth).mean():.3f} in the mean"
    yield "| predicted probability | organs | mean | below .85 |\n|---|---|---|---|"
    bins = reliability(p_poor, poor)
    for one in bins:
        yield f"| {one.low} to {one.high} | {one.organs} | {one.mean:.3f} | {one.poor:.3f} |"
    if picture:
        picture.write_text(reliability_diagram(bins), encoding="utf-8")
    yield "| review from | missed of the poor | flagged of the others |\n|---|---|---|"
    for threshold in (0.05, 0.1, 0.15, 0.2, 0.3):
        flagged = p_poor >= threshold
        yield f"| {threshold} | {(~flagged & poor).sum() / poor.sum():.3f} | {flagged[~poor].mean():.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = parser.add_subparsers(dest="stage", required=True)
    collecting = stages.add_parser("collect")
    collecting.add_argument("folders", nargs="+", type=Path, help="that abdoseg prepare wrote, on the model's grid")
    collecting.add_argument("-o", "--output", type=Path, required=True)
    collecting.add_argument("--model", help="weights file; the bundled one when not named")
    collecting.add_argument("--samples", type=int, default=250)
    fitting = stages.add_parser("fit")
    fitting.add_argument("folder", type=Path, help="that collect wrote")
    fitting.add_argument("--picture", type=Path, help="SVG file for the reliability diagram")
    fitting.add_argument("--presence-threshold", type=float, default=0.89)
    chosen = parser.parse_args()
    if chosen.stage == "fit":
        files = sorted(chosen.folder.glob("*.npz"))
        found = [one for file in files for one in outcomes(file, chosen.presence_threshold)]
        print(*report(found, chosen.picture), sep="\n")
        return
    tune_process()
    cases = [prepared for folder in chosen.folders for prepared in load_prepared(folder)]
    for file in collect(load_model(chosen.model, "cpu"), cases, chosen.samples, chosen.output):
        print(file, flush=True)


if __name__ == "__main__":
    main()
