"""Warm start: a new run begins with the weights of another."""

from __future__ import annotations

import json
import logging
from typing import Any

import torch
from torch import Tensor, nn

from abdoseg.anatomy.organs import BY_NAME, host_of
from abdoseg.errors import ModelError
from abdoseg.model.plan import Plan
from abdoseg.model.weights import load_model

LOG = logging.getLogger("abdoseg")
# How much less likely than its organ a new lesion begins, in logits: with 12 % of the organ's probability. A channel at
# random begins some 9 below, where there is next to no gradient to tell it from its organ.
LESION_LOGIT = 2.0


def warm_start(network: nn.Module, plan: Plan, name: str) -> str:
    """Puts the tensors of a weights file, or of a bundled model, into a network that `plan` describes.

    Of the head, the channels of organs that both know are taken over; a new lesion begins as its organ, LESION_LOGIT
    below, and other new organs at random. The grid in mm may be another than the weights were trained on; the log says
    both.

    Returns:
        The weights' name and SHA-256, for the model card.

    Raises:
        ModelError: the file's network or HU window is another, or one resizes whole scans and the other does not.
    """
    model = load_model(name, "cpu")
    theirs, ours = _needs(model.plan), _needs(plan)
    apart = [f"{key} {_text(theirs.get(key))} there and {_text(ours.get(key))} here"
             for key in dict.fromkeys((*theirs, *ours)) if theirs.get(key) != ours.get(key)]  # fmt: skip
    if apart:
        remedy = "leave --recipe out, or give the one they had"
        raise ModelError(f"{name}: these weights do not fit the recipe: {'; '.join(apart)}; {remedy}")
    # What each channel of ours is there, of lesions their organ's.
    there = {organ: organ if organ in model.plan.organs else _organ_of(organ) for organ in plan.organs}
    shared = [organ for organ in plan.organs if there[organ] in model.plan.organs]
    rows = [0, *(plan.organs.index(organ) + 1 for organ in shared)]
    their_rows = [0, *(model.plan.organs.index(there[organ]) + 1 for organ in shared)]
    given = model.network.state_dict()
    for key, tensor in network.state_dict().items():
        if not key.startswith("head."):
            tensor.copy_(given[key])
            continue
        axis = 1 if tensor.ndim > 1 and isinstance(network.head, nn.ConvTranspose3d) else 0
        _put(tensor, rows, given[key], their_rows, axis)
        if key == "head.bias":
            tensor[[row for row, organ in zip(rows[1:], shared, strict=True) if there[organ] != organ]] -= LESION_LOGIT
    if model.plan.spacing_mm != plan.spacing_mm:
        LOG.info("%s: of a grid of %s mm, goes on on one of %s mm", name, _by(model.plan), _by(plan))
    if anew := [organ for organ in plan.organs if organ not in shared]:
        LOG.info("%s: knows nothing of %s, which begin anew", name, ", ".join(anew))
    for organ in shared:
        if there[organ] != organ:
            LOG.info("%s: knows nothing of %s, which begins as the %s it lies in", name, organ, there[organ])
    return f"{name}, SHA-256 `{model.digest}`"


def freeze_statistics(network: nn.Module) -> None:
    """Batch norms of a network in training use the running statistics that they have, and leave them as they are."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.eval()


def _organ_of(organ: str) -> str:
    """The organ that a lesion lies in; any other organ itself."""
    return host_of(organ) if organ in BY_NAME and BY_NAME[organ].is_lesion else organ


def _put(tensor: Tensor, rows: list[int], given: Tensor, their_rows: list[int], axis: int) -> None:
    source = given.index_select(axis, torch.tensor(their_rows)).to(tensor.device)
    tensor.index_copy_(axis, torch.tensor(rows, device=tensor.device), source)


def _needs(plan: Plan) -> dict[str, Any]:
    """What a network's tensors depend on, as JSON has it: not the number of organs, not what is dropped."""
    network = {f"network {key}": value for key, value in plan.network.items() if key not in ("classes", "dropout")}
    seen = {"grid": "in mm" if plan.spacing_mm else plan.patch, "HU window": plan.window_hu}
    needs: dict[str, Any] = json.loads(json.dumps({**network, **seen, "scaled to": plan.scaled_to}))
    return needs


def _by(plan: Plan) -> str:
    return " x ".join(f"{spacing:g}" for spacing in plan.spacing_mm or ())


def _text(value: Any) -> str:
    return "unsaid" if value is None else json.dumps(value)
