"""Scans without an abdomen must give no organ, scans with one must lose none: what is kept, and with what probability.

    abdoseg prepare --data FLARE22/ --data extra/ --data labelmaps/ --cache prepared/
    python tests/benchmarks/guard.py prepared/* [--model FILE] [--patients 2] [--made-up 10]

Of every prepared case the part above its organs and the part below, where there are 40 mm of it, the whole, and its
halves above and below the organs' middle; where there are maps of tissues, the same of so many synthetic patients, and
those with a head set upon them. And made-up heads, legs, phantoms of water, and noise. A line where something is wrong,
and in the end the range of each scan's highest mean probability of an organ: `presence_threshold` of the plan must lie
above those without an abdomen and below those with one. Scans whose HU alone are not a trunk's are left out of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from abdoseg import segmentation
from abdoseg.cli.process import tune_process
from abdoseg.image.volume import Array, Geometry, Stored, Volume
from abdoseg.model.weights import Model, load_model
from abdoseg.phantom import phantom_tissues
from abdoseg.quality import implausible
from abdoseg.quality.evidence import Evidence
from abdoseg.quality.plausibility import shows_trunk, tissue_counts
from abdoseg.training.augment.rng import Rng
from abdoseg.training.augment.synthesis import synthesize_ct
from abdoseg.training.data.cache import PreparedCase, load_prepared

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from phantom_parts import SPACING_MM, no_abdomens, stored

MAIN = (1, 2, 3, 4)
LEAST_MM, APART_MM = 40.0, 3.0
HEAD_MM, HEADED = 220.0, " with a head"
LOST = 0.5  # an organ with less than this fraction of its voxels


def images(prepared: PreparedCase, patients: int) -> Iterator[tuple[str, Array, Array]]:
    """The case's own HU and labels; those of synthetic patients, and of the same with a head set upon them."""
    labels = prepared.array("labels")
    if prepared.has_image:
        yield prepared.case, prepared.array("image"), labels
    for seed in range(patients if "tissues" in prepared.digests else 0):
        tissues = prepared.array("tissues")
        shape = (*tissues.shape[:2], round(HEAD_MM / prepared.spacing_mm[2]))
        head, none = phantom_tissues(seed, shape, prepared.spacing_mm, region="head")
        for name, map_, truth in (
            (f"{prepared.case} synthetic {seed}", tissues, labels),
            (f"{prepared.case} synthetic {seed}{HEADED}", *_joined((tissues, head), (labels, none.labels))),
        ):
            hu = synthesize_ct(torch.from_numpy(np.array(map_)), prepared.spacing_mm, Rng(1000 + seed)).numpy()
            yield name, stored(hu), truth


def _joined(*stacks: tuple[Array, Array]) -> list[Array]:
    return [np.concatenate(stack, axis=2) for stack in stacks]


def parts(labels: Array, spacing_mm: float) -> Iterator[tuple[str, slice]]:
    """The planes above all organs and those below, where they are enough; all planes, and both halves.

    All planes alone where there is no organ.
    """
    filled = np.flatnonzero(np.isin(labels, MAIN).any(axis=(0, 1)))
    apart, least, count = round(APART_MM / spacing_mm), round(LEAST_MM / spacing_mm), labels.shape[2]
    if not len(filled):
        yield "whole", slice(0, count)
        return
    for name, planes in (
        ("above", slice(filled[-1] + 1 + apart, count)),
        ("below", slice(0, filled[0] - apart)),
    ):
        if planes.stop - planes.start >= least:
            yield name, planes
    middle = int(filled[[0, -1]].mean())
    yield from (("whole", slice(0, count)), ("upper half", slice(middle, count)), ("lower half", slice(0, middle)))


def scans(folders: list[Path], patients: int, made_up: int) -> Iterator[tuple[str, Array, Array, tuple[float, ...]]]:
    """Name, HU, labels (I, J, K) and spacing of everything to be looked at."""
    for prepared in (prepared for folder in folders for prepared in load_prepared(folder)):
        for name, voxels, labels in images(prepared, patients):
            for part, planes in parts(labels, prepared.spacing_mm[2]):
                if name.endswith(HEADED) and part not in ("above", "whole"):
                    continue
                yield f"{name}, {part}", voxels[:, :, planes], labels[:, :, planes], prepared.spacing_mm
    for seed in range(made_up):
        for name, voxels in no_abdomens(seed):
            yield f"{name} {seed}", voxels, np.zeros(voxels.shape, np.uint8), SPACING_MM


def found_organs(model: Model, voxels: Array, spacing_mm: tuple[float, ...]) -> tuple[dict[int, int], float | None]:
    """Voxels by label in the result, and the highest mean probability of an organ before anything was removed.

    None when the HU are not a trunk's, so that probabilities are not looked at.
    """
    geometry = Geometry(voxels.shape, np.diag([*spacing_mm, 1.0]))
    highest: list[float] = []

    def watched(evidence: Mapping[str, Evidence], image: Array, *rest):
        if shows_trunk(tissue_counts(image)):
            highest.append(max((found.confidence for found in evidence.values()), default=0.0))
        return implausible(evidence, image, *rest)

    segmentation.implausible = watched
    found = segmentation.segment(Volume(np.asfortranarray(voxels), geometry, Stored(geometry)), model)
    return {row.label: row.voxels for row in found.rows}, highest[0] if highest else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--model", help="weights file; the bundled one when not named")
    parser.add_argument("--patients", type=int, default=1, help="synthesized from each tissue map")
    parser.add_argument("--made-up", type=int, default=10, help="of each kind")
    chosen = parser.parse_args()
    tune_process()
    model = load_model(chosen.model)
    without: list[float | None] = []
    wholes: list[float | None] = []
    wrong = 0
    for name, voxels, labels, spacing_mm in scans(chosen.folders, chosen.patients, chosen.made_up):
        found, highest = found_organs(model, voxels, spacing_mm)
        truth = {label: int((labels == label).sum()) for label in MAIN}
        seen = any(truth.values())
        (wholes if seen else without).append(highest)
        bad = [label for label in MAIN if (found[label] < LOST * truth[label] if seen else found[label])]
        wrong += bool(bad)
        if bad:
            ml = np.prod(spacing_mm) / 1000
            organs = ", ".join(f"label {n}: {found[n] * ml:.1f} ml (truth {truth[n] * ml:.1f})" for n in bad)
            print(f"{name}: {organs}; highest mean probability {highest or 0:.3f}", flush=True)
    print(f"{len(without)} scans without organs, {len(wholes)} with; {wrong} wrong")
    for which, values in (("without", without), ("with", wholes)):
        known = [value for value in values if value is not None]
        print(f"{which} an abdomen: {len(values) - len(known)} have HU that are not a trunk's; highest mean "
              f"probability in the others {min(known, default=0):.3f} to {max(known, default=0):.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
