"""How far organs reach beyond what the coarse pass finds, and what a coarse pass saves and costs.

python tests/benchmarks/coarse_to_fine.py SCAN... --truth LABELS... --labels flare22
    [--model FILE] [--downsampling 2 3] [--dice] [--perturbed]

A row a scan and downsampling: mm by which the true organs reach beyond the pieces that the coarse pass finds
(PADDING_MM of abdoseg.inference.coarse_to_fine must be more), and the fraction of the body's voxels that are still
computed in full. With --dice, Dice without and with the coarse pass; with --perturbed, a row for each of
robustness.py's perturbations too.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from robustness import Perturbed, perturbed

from abdoseg.cli.process import tune_process
from abdoseg.image.components import box_of
from abdoseg.image.resample import resample_labels
from abdoseg.image.volume import Labelmap
from abdoseg.inference import coarse_to_fine
from abdoseg.inference.network_grid import resample_to_network_grid
from abdoseg.inference.sliding_window import body_box, tiling_for
from abdoseg.io import read_labels, read_scan
from abdoseg.metrics import dice
from abdoseg.model.weights import Model, load_model
from abdoseg.segmentation import segment


def row(model: Model, scan: Perturbed, truth: Labelmap, with_dice: bool) -> str:
    """What the coarse pass does to one scan."""
    plan, volume = model.plan, scan.scan
    image, grid = resample_to_network_grid(volume, plan)
    wanted = [label for label, organ in truth.organs.items() if organ in plan.output_organs]
    there = resample_labels(truth.labels, truth.geometry, scan.lies)  # on the scan's voxels, wherever those truly lie
    organs = box_of(np.isin(resample_labels(there, volume.geometry, grid), wanted))
    body = body_box(image, plan.window_hu[0])
    coarse_to_fine.PADDING_MM, padding = 0.0, coarse_to_fine.PADDING_MM
    bare = coarse_to_fine.region_of_interest(model, image, plan.output_organs, body)
    coarse_to_fine.PADDING_MM = padding
    region = coarse_to_fine.region_of_interest(model, image, plan.output_organs, body)
    whole, box = (tiling_for(model, image[part].shape).computed_voxels for part in (body, region))
    if organs is None:
        return f"no organ   {box / whole:5.2f}"
    beyond = max(
        max(b.start - o.start, o.stop - b.stop) * s for b, o, s in zip(bare, organs, grid.spacing_mm, strict=True)
    )
    line = f"{beyond:8.0f}   {box / whole:5.2f}"
    if with_dice:
        for one in (replace(model, plan=replace(plan, roi_downsampling=None)), model):
            found = segment(volume, one).labelmap
            scores = [dice(there == label, found.mask(truth.organs[label])) for label in wanted]
            line += "   " + " ".join(f"{score:.3f}" for score in scores)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", nargs="+")
    parser.add_argument("--truth", nargs="+", required=True, help="labels, one file a scan in their order")
    parser.add_argument("--labels", default="abdoseg", help="scheme of the truths")
    parser.add_argument("--model", help="weights file; the bundled one when not named")
    parser.add_argument("--downsampling", type=int, nargs="+", help="instead of the plan's")
    parser.add_argument("--dice", action="store_true")
    parser.add_argument("--perturbed", action="store_true")
    chosen = parser.parse_args()
    tune_process()
    model = load_model(chosen.model)
    factors = chosen.downsampling or [model.plan.roi_downsampling]
    models = {factor: replace(model, plan=replace(model.plan, roi_downsampling=factor)) for factor in factors}
    print(f"{'scan':<44} downsampling  beyond mm  computed" + ("   Dice without, with" if chosen.dice else ""))
    for scan, labels in zip(chosen.scans, chosen.truth, strict=True):
        volume, truth = read_scan(scan), read_labels(labels, chosen.labels)
        cases = [Perturbed("", volume, volume.geometry)]
        if chosen.perturbed:
            wanted = np.isin(truth.labels, [n for n, o in truth.organs.items() if o in model.plan.output_organs])
            cases += perturbed(volume, wanted * truth.labels, quick=False)
        for case in cases:
            name = f"{scan.rsplit('/', 1)[-1].split('.nii')[0]} {case.name}"
            for factor, coarse in models.items():
                print(f"{name:<44} {factor:12}   {row(coarse, case, truth, chosen.dice)}", flush=True)


if __name__ == "__main__":
    main()
