"""Scans without an abdomen must give no organ, scans with one must lose none: what is kept, and how sure the surest is.

    abdoseg prepare --data FLARE22/ --data extra/ --data labelmaps/ --cache prepared/
    python tests/benchmarks/guard.py prepared/* [--model FILE] [--patients 2]

Of every packed case the part above its organs and the part below them, where there are 40 mm of it, the whole, and its
halves above and below the organs' middle; where there are maps of tissues, the same of so many painted patients. A line
where something is wrong, and in the end the two numbers between which `certain` of the weights' plan must lie.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from abdoseg import segmentation
from abdoseg.machine import keep_freed_memory
from abdoseg.model.weights import Model, load_model
from abdoseg.quality import implausible
from abdoseg.quality.evidence import Evidence
from abdoseg.training.cache import Packed, load_prepared
from abdoseg.training.draws import Draws
from abdoseg.training.painting import paint
from abdoseg.volume import Array, Geometry, Stored, Volume

MAIN = (1, 2, 3, 4)
LEAST_MM, APART_MM = 40.0, 3.0
LOST = 0.5  # an organ with less than this share of its voxels


def images(packed: Packed, patients: int) -> Iterator[tuple[str, Array]]:
    """The case's own HU, and those of painted patients."""
    if packed.has_image:
        yield packed.case, np.array(packed.array("image"))
    for seed in range(patients if "tissues" in packed.digests else 0):
        tissues = torch.from_numpy(np.array(packed.array("tissues")))
        painted = paint(tissues, packed.spacing_mm, Draws(1000 + seed)).numpy()
        yield f"{packed.case} painted {seed}", painted.round().clip(-1024, 3071).astype(np.int16)


def parts(labels: Array, spacing_mm: float) -> Iterator[tuple[str, slice]]:
    """The planes above all organs and those below, where they are enough; all planes, and both halves."""
    filled = np.flatnonzero(np.isin(labels, MAIN).any(axis=(0, 1)))
    apart, least, count = round(APART_MM / spacing_mm), round(LEAST_MM / spacing_mm), labels.shape[2]
    for name, planes in (
        ("above", slice(filled[-1] + 1 + apart, count)),
        ("below", slice(0, filled[0] - apart)),
    ):
        if planes.stop - planes.start >= least:
            yield name, planes
    middle = int(filled[[0, -1]].mean())
    yield from (("whole", slice(0, count)), ("upper half", slice(middle, count)), ("lower half", slice(0, middle)))


def judged(model: Model, voxels: Array, spacing_mm: tuple[float, ...]) -> tuple[dict[int, int], float]:
    """Voxels by label in the result, and the confidence of the surest organ before anything was removed."""
    geometry = Geometry(voxels.shape, np.diag([*spacing_mm, 1.0]))
    seen: dict[str, Evidence] = {}

    def watched(evidence: Mapping[str, Evidence], *rest):
        seen.update(evidence)
        return implausible(evidence, *rest)

    segmentation.implausible = watched
    found = segmentation.segment(Volume(voxels, geometry, Stored(geometry)), model)
    surest = max((evidence.confidence for evidence in seen.values()), default=0.0)
    return {row.label: row.voxels for row in found.rows}, surest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--model", help="weights file; the bundled one when not named")
    parser.add_argument("--patients", type=int, default=1, help="painted from each map of tissues")
    chosen = parser.parse_args()
    keep_freed_memory()
    model = load_model(chosen.model)
    without, wholes, wrong = [0.0], [1.0], 0
    for packed in (packed for folder in chosen.folders for packed in load_prepared(folder)):
        labels = packed.array("labels")
        for name, voxels in images(packed, chosen.patients):
            for part, planes in parts(labels, packed.spacing_mm[2]):
                found, surest = judged(model, np.asfortranarray(voxels[:, :, planes]), packed.spacing_mm)
                truth = {label: int((labels[:, :, planes] == label).sum()) for label in MAIN}
                if any(truth.values()):
                    wholes.append(surest)
                    bad = {label for label in MAIN if found[label] < LOST * truth[label]}
                else:
                    without.append(surest)
                    bad = {label for label in MAIN if found[label]}
                wrong += bool(bad)
                if bad:
                    ml = np.prod(packed.spacing_mm) / 1000
                    told = ", ".join(
                        f"label {n}: {found[n] * ml:.1f} ml (truth {truth[n] * ml:.1f})" for n in sorted(bad)
                    )
                    print(f"{name}, {part}: {told}; the surest organ {surest:.3f}", flush=True)
    print(f"{len(without) - 1} scans without organs, {len(wholes) - 1} with; {wrong} wrong")
    print(f"the surest organ: at most {max(without):.3f} without an abdomen, at least {min(wholes):.3f} with one")


if __name__ == "__main__":
    main()
