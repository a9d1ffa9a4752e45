"""Writes weights for delivery: the mean of several, logits shifted, activation ranges from many batches, plan fields.

    abdoseg prepare --data FLARE22/ --recipe five.json --synthetic 0.15 --cache prepared/
    python tests/benchmarks/adopt_weights.py five.safetensors run/last.safetensors=0.5 --logits '{"spleen": 0.35}' \\
        --recipe five.json --data prepared/* --leave-out btcv_0021 btcv_0027 --batches 24 \\
        --plan '{"roi_downsampling": 2}' -o organs.safetensors

FILE=SHARE: weights of one network and their share in the mean, tensor by tensor; 1 where none is said. `--logits` is
added to the bias of the network's last layer, by organ; the plan's `training` tells both. Prints each range beside the
one that the first weights had.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from abdoseg.inference.quantized import calibrate
from abdoseg.model.weights import Model, load_model, to_bytes
from abdoseg.training.augment.sampler import Sampler
from abdoseg.training.data.cache import Cache, load_prepared
from abdoseg.training.recipes import find_recipe


def mean_part(text: str) -> tuple[Model, float]:
    """The weights and their share, of FILE or FILE=SHARE."""
    path, _, share = text.partition("=")
    return load_model(path, "cpu"), float(share or 1)


def mean_state(parts: Sequence[tuple[Model, float]]) -> dict[str, torch.Tensor]:
    """The mean of each tensor, weighted by the shares; of one alone its tensors, bit for bit."""
    whole = sum(share for _, share in parts)
    states = [(model.network.state_dict(), share / whole) for model, share in parts]
    first = states[0][0]
    return {
        name: sum((state[name] * share for state, share in states), torch.zeros_like(tensor))
        if tensor.is_floating_point()
        else tensor
        for name, tensor in first.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", metavar="FILE[=SHARE]")
    parser.add_argument("--logits", type=json.loads, default={}, help="what is added to organs' logits, as JSON")
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="folders that abdoseg prepare wrote")
    parser.add_argument("--leave-out", nargs="*", default=[], help="cases not to calibrate on: those that validate")
    parser.add_argument("--batches", type=int, default=24)
    parser.add_argument("--plan", type=json.loads, default={}, help="fields of the plan as JSON")
    parser.add_argument("-o", "--output", type=Path, required=True)
    chosen = parser.parse_args()
    parts = [mean_part(text) for text in chosen.weights]
    model, recipe = parts[0][0], find_recipe(chosen.recipe)
    former = model.plan.activation_ranges or {}
    model.network.load_state_dict(mean_state(parts))
    with torch.no_grad():
        for organ, shift in chosen.logits.items():
            model.network.head.bias[1 + model.plan.organs.index(organ)] += shift
    cases = {case.case: case for folder in chosen.data for case in load_prepared(folder)}
    names = sorted(set(cases) - set(chosen.leave_out))
    sampler = Sampler(Cache(tuple(cases.values())), names, recipe)
    print(f"{len(names)} cases, {chosen.batches} batches of {recipe.batch}: {', '.join(names)}")
    ranges = calibrate(model.network, (sampler.batch(n).image for n in range(chosen.batches)))
    for name, (low, high) in ranges.items():
        was = "{:8.3f} {:8.3f}".format(*former[name]) if name in former else "-"
        print(f"{name:<26} {low:8.3f} {high:8.3f}   was {was}")
    training = {**model.plan.training, "shares": [share for _, share in parts], "logits": chosen.logits}
    plan = replace(model.plan, training=training, activation_ranges=ranges, **chosen.plan)
    chosen.output.write_bytes(to_bytes(model.network, plan))


if __name__ == "__main__":
    main()
