"""Writes weights anew with activation ranges from more batches than training takes, and with other fields of the plan.

    abdoseg prepare --data FLARE22/ --recipe five.json --synthetic 0.15 --cache prepared/
    python tests/benchmarks/adopt_weights.py five.safetensors --recipe five.json --data prepared/* \\
        --leave-out btcv_0021 btcv_0027 --batches 24 --plan '{"roi_downsampling": 2}' -o organs.safetensors

The tensors stay as they are, bit for bit. Prints each range beside the one that the weights had.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from abdoseg.inference.quantized import calibrate
from abdoseg.model.weights import load_model, to_bytes
from abdoseg.training.augment.sampler import Sampler
from abdoseg.training.data.cache import Cache, load_prepared
from abdoseg.training.recipes import find_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="folders that abdoseg prepare wrote")
    parser.add_argument("--leave-out", nargs="*", default=[], help="cases not to calibrate on: those that validate")
    parser.add_argument("--batches", type=int, default=24)
    parser.add_argument("--plan", type=json.loads, default={}, help="fields of the plan as JSON")
    parser.add_argument("-o", "--output", type=Path, required=True)
    chosen = parser.parse_args()
    model, recipe = load_model(chosen.weights, "cpu"), find_recipe(chosen.recipe)
    cases = {case.case: case for folder in chosen.data for case in load_prepared(folder)}
    names = sorted(set(cases) - set(chosen.leave_out))
    sampler = Sampler(Cache(tuple(cases.values())), names, recipe)
    print(f"{len(names)} cases, {chosen.batches} batches of {recipe.batch}: {', '.join(names)}")
    ranges = calibrate(model.network, (sampler.batch(n).image for n in range(chosen.batches)))
    former = model.plan.activation_ranges or {}
    for name, (low, high) in ranges.items():
        was = "{:8.3f} {:8.3f}".format(*former[name]) if name in former else "-"
        print(f"{name:<26} {low:8.3f} {high:8.3f}   was {was}")
    plan = replace(model.plan, activation_ranges=ranges, **chosen.plan)
    chosen.output.write_bytes(to_bytes(model.network, plan))
    again = load_model(chosen.output, "cpu").network.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.network.state_dict().items())


if __name__ == "__main__":
    main()
