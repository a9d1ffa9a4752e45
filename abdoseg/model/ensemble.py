"""Ensembles: several weights of one plan, such as the folds of a cross-validation, whose logits are averaged."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from abdoseg.errors import ModelError
from abdoseg.model import weights
from abdoseg.model.weights import Model

LOG = logging.getLogger("abdoseg")
# What a plan may have of its own: how it was trained, and what was measured of its weights.
OWN = ("training", "presence_threshold", "activation_ranges", "output_organs")


class Ensemble(nn.Module):
    """(B, 1, I, J, K) windowed HU -> (B, classes, I, J, K), the mean of the networks' logits, one after the other."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.multiples = getattr(networks[0], "multiples", (1, 1, 1))
        self.layout = networks[0].layout

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.networks[0](image)
        for network in self.networks[1:]:
            logits += network(image)
        return logits.div_(len(self.networks))


def load_models(names: Sequence[str | Path], device: str = "auto") -> Model:
    """The model of one name, the default one without, or the ensemble of several of one plan.

    What an ensemble takes is logged. Raises ModelError when a file is missing, twice there, or of another plan than the
    first.
    """
    if len(names) < 2:
        return weights.load_model(names[0] if names else None, device)
    models = [weights.load_model(path, device) for path in [weights.find_weights(name) for name in names]]
    first = models[0]
    for name, model in zip(names, models, strict=True):
        apart = [
            field
            for field in first.plan.__dataclass_fields__
            if field not in OWN and getattr(model.plan, field) != getattr(first.plan, field)
        ]
        if apart:
            raise ModelError(
                f"{name}: another {' and '.join(apart)} than {names[0]}; only weights of one recipe are averaged"
            )
    if len({model.digest for model in models}) < len(models):
        raise ModelError(f"{', '.join(map(str, names))}: two of them are the same weights; name each once")
    known = [model.plan.presence_threshold for model in models if model.plan.presence_threshold is not None]
    plan = replace(first.plan, activation_ranges=None, presence_threshold=sum(known) / len(known) if known else None)
    size = sum(tensor.nbytes for model in models for tensor in model.network.state_dict().values())
    LOG.info(
        "an ensemble of %d models: %d times the network's time, %.0f MB of weights",
        len(models),
        len(models),
        size / 2**20,
    )
    digest = hashlib.sha256("".join(model.digest for model in models).encode()).hexdigest()
    network = Ensemble([model.network for model in models]).eval()
    return Model(plan, network, first.device, digest, tuple(models))
