"""Dice of the four organs in patients with painted diseases, of one model or several side by side.

    abdoseg prepare --data FLARE22/ --recipe organs --cache prepared/
    python tests/benchmarks/diseases.py prepared/* --cases btcv_0027,btcv_0039 [--model FILE ...] [--draws 4]

Each disease of `abdoseg.training.augment.diseases` is painted into each case's tissue map, a CT is synthesized from it,
and segmented as `segment` does. Medians over cases and draws, of organs that are there.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from abdoseg.anatomy.organs import BY_NAME, MAIN
from abdoseg.cli.process import tune_process
from abdoseg.image.volume import Geometry, Stored, Volume
from abdoseg.metrics import dice
from abdoseg.model.weights import Model, load_model
from abdoseg.segmentation import segment
from abdoseg.training.augment.diseases import DISEASES
from abdoseg.training.augment.patch_anatomy import Anatomy
from abdoseg.training.augment.rng import Rng
from abdoseg.training.augment.synthesis import synthesize_ct
from abdoseg.training.data.cache import PreparedCase, load_prepared

LEAST_ML = 1.0  # of an organ, to count as there


def painted(prepared: PreparedCase, disease: str, seed: int) -> tuple[Volume, npt.NDArray[np.uint8]]:
    """A synthetic CT of the case with a disease, none for "none", and its labels (I, J, K)."""
    rng = Rng(seed)
    tissues, labels = (torch.from_numpy(np.array(prepared.array(name))) for name in ("tissues", "labels"))
    anatomy = Anatomy(tissues, labels, prepared.spacing_mm)
    if disease in DISEASES:
        anatomy = DISEASES[disease][1](anatomy, rng)
    image = synthesize_ct(anatomy.tissues, prepared.spacing_mm, rng, anatomy.phase).numpy()
    geometry = Geometry(image.shape, np.diag([*prepared.spacing_mm, 1.0]))
    return Volume(np.asfortranarray(image, np.float32), geometry, Stored(geometry)), anatomy.labels.numpy()


def scores(
    models: Sequence[Model], prepared: PreparedCase, disease: str, seed: int
) -> Iterator[tuple[str, list[float]]]:
    """Each organ that is there, with its Dice by model."""
    volume, labels = painted(prepared, disease, seed)
    found = [segment(volume, model, organs=MAIN).labelmap for model in models]
    for organ in MAIN:
        truth = labels == BY_NAME[organ].label
        if truth.sum() * volume.geometry.voxel_ml >= LEAST_ML:
            yield organ, [dice(truth, labelmap.mask(organ)) for labelmap in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", nargs="+", type=Path)
    parser.add_argument("--cases", required=True, help="names, commas between")
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--diseases", default=",".join(("none", *DISEASES)), help="names, commas between")
    arguments = parser.parse_args()
    tune_process()
    models = [load_model(name, "cpu") for name in arguments.model or [None]]
    wanted = arguments.cases.split(",")
    cases = [case for folder in arguments.prepared for case in load_prepared(folder) if case.case in wanted]
    print("| disease | " + " | ".join(MAIN) + " |")
    for disease in arguments.diseases.split(","):
        found: dict[str, list[list[float]]] = {}
        for case in cases:
            for seed in range(arguments.draws):
                for organ, values in scores(models, case, disease, seed):
                    found.setdefault(organ, []).append(values)
        medians = [
            ", ".join(f"{statistics.median(of):.3f}" for of in zip(*found.get(organ, []), strict=True))
            for organ in MAIN
        ]
        print(f"| {disease} | " + " | ".join(medians) + " |", flush=True)


if __name__ == "__main__":
    main()
