"""Recipes: everything that decides how weights come out, as frozen dataclasses; RECIPES is the list of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from abdoseg.anatomy import MAIN
from abdoseg.model.plan import Plan
from abdoseg.training.augment import Augmentation

TARGETS = (
    *MAIN, "pancreas", "aorta", "inferior_vena_cava", "adrenal_gland_right", "adrenal_gland_left", "gallbladder",
    "esophagus", "stomach",
)  # fmt: skip


@dataclass(frozen=True)
class TrainingConfig:
    """A recipe. It is saved beside the checkpoint and, in short, in the weights; flags replace fields.

    organs: what the network learns; delivered: what it is asked for later. steps: optimiser steps of a whole run; an
    epoch is `epoch_steps` of them. foreground: share of patches centred on an organ. painted: share of patches whose
    HU are painted from a label map. ema: decay of the running average of the weights that is kept in the end.
    """

    recipe: str = "default"
    organs: tuple[str, ...] = TARGETS
    delivered: tuple[str, ...] = MAIN
    network: dict[str, Any] = field(
        default_factory=lambda: {
            "name": "vnet", "widths": (32, 64, 96, 160), "depths": (2, 2, 2, 2), "kernel": 3, "stem": 2,
            "norm": "batch", "activation": "relu", "join": "concat",
        }
    )  # fmt: skip
    spacing_mm: tuple[float, float, float] = (2.0, 2.0, 3.0)
    patch: tuple[int, int, int] = (96, 96, 64)
    window_hu: tuple[float, float] = (-125.0, 275.0)
    scaled_to: tuple[float, float] = (-1.0, 1.0)
    batch: int = 2
    steps: int = 20000
    epoch_steps: int = 250
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    warmup_steps: int = 200
    clip: float = 5.0
    loss_weights: tuple[float, float] = (1.0, 1.0)
    ema: float = 0.998
    foreground: float = 0.67
    painted: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0

    def plan(self) -> Plan:
        """How the weights that this recipe gives are to be used."""
        return Plan(
            spacing_mm=self.spacing_mm,
            patch=self.patch,
            organs=self.organs,
            delivered=self.delivered,
            network={**self.network, "classes": len(self.organs) + 1},
            window_hu=self.window_hu,
            scaled_to=self.scaled_to,
            training={"recipe": self.recipe, "seed": self.seed, "steps": self.steps},
        )

    def to_json(self) -> str:
        """Indented JSON, as it stands beside a checkpoint."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)


RECIPES: Mapping[str, TrainingConfig] = MappingProxyType({"default": TrainingConfig()})
