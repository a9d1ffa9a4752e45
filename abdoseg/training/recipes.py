"""Training recipes: network, grid, optimiser, loss and augmentation in one frozen dataclass; RECIPES lists them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from abdoseg.anatomy.organs import BY_NAME, MAIN, host_of
from abdoseg.errors import UsageError
from abdoseg.model.plan import Plan, members, renamed
from abdoseg.model.slicewise import ARCHITECTURES
from abdoseg.model.weights import build_network, network_config
from abdoseg.training.augment.transforms import NO_AUGMENTATION, Augmentation

NEIGHBOUR_WEIGHT = 0.125  # weight in Dice of an organ that is learnt beside the output organs
MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class TrainingConfig:
    """A recipe. It is saved beside the checkpoint and, in short, in the weights; flags replace fields.

    Attributes:
        organs: the channels that the network learns.
        output_organs: those of them that are written at inference.
        spacing_mm: voxel spacing of the training grid; None resizes whole scans to `patch`.
        progressive: (steps, zoom) of the coarser grids that training begins on.
        scaled_to: what the ends of `window_hu` become.
        epoch_steps: optimiser steps between validations; 0 takes each training case once, shuffled.
        clip: largest norm of the gradient, 0 for none.
        loss_weights: of Dice, cross-entropy and focal loss.
        class_weights: of the channels in Dice, background first; without, the output organs count most.
        ema: decay of the exponential moving average of the weights that is kept in the end, 0 for none.
        foreground: fraction of patches centred on an organ.
        synthetic: fraction of patches whose HU are synthesised from a label map.
        diseases: fraction of the synthetic patches that show a disease.
        tumours: fraction of the patches of healthy livers that get synthetic tumours.
        frozen_statistics: batch norms keep the statistics of the weights that --from names, not each batch's own,
            which two patches are too few to measure; their scale and shift are trained as ever.
        inference_spacing_mm, presence_threshold, roi_downsampling: the plan's own. Training does not measure them.
    """

    recipe: str = "default"
    organs: tuple[str, ...] = MAIN
    output_organs: tuple[str, ...] = MAIN
    network: dict[str, Any] = field(
        default_factory=lambda: {
            "name": "vnet", "widths": (32, 64, 96, 160), "depths": (2, 2, 2, 2), "kernel": 3, "stem": 2,
            "norm": "batch", "activation": "relu", "join": "concat",
        }
    )  # fmt: skip
    spacing_mm: tuple[float, float, float] | None = (2.0, 2.0, 3.0)
    patch: tuple[int, int, int] = (96, 96, 64)
    progressive: tuple[tuple[int, float], ...] = ()
    window_hu: tuple[float, float] = (-125.0, 275.0)
    scaled_to: tuple[float, float] = (-1.0, 1.0)
    batch: int = 2
    epochs: int = 80
    epoch_steps: int = 250
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    warmup_steps: int = 200
    clip: float = 5.0
    loss_weights: tuple[float, float, float] = (1.0, 1.0, 0.0)
    class_weights: tuple[float, ...] | None = None
    ema: float = 0.998
    foreground: float = 0.67
    synthetic: float = 0.0
    diseases: float = 0.0
    tumours: float = 0.0
    frozen_statistics: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)
    inference_spacing_mm: tuple[float, float, float] | None = None
    presence_threshold: float | None = None
    roi_downsampling: int | None = None
    seed: int = 0

    def plan(self) -> Plan:
        """How the weights that this recipe gives are to be used."""
        return Plan(
            spacing_mm=self.spacing_mm,
            patch=self.patch,
            organs=self.organs,
            output_organs=self.output_organs,
            network={**self.network, "classes": len(self.organs) + 1},
            window_hu=self.window_hu,
            scaled_to=self.scaled_to,
            training={"recipe": self.recipe, "seed": self.seed, "epochs": self.epochs},
            inference_spacing_mm=self.inference_spacing_mm,
            presence_threshold=self.presence_threshold,
            roi_downsampling=self.roi_downsampling,
        )

    def zoom_and_patch(self, step: int) -> tuple[float, tuple[int, ...]]:
        """Zoom of the grid, and patch in its voxels, of a step that is counted from 0."""
        for steps, zoom in self.progressive:
            if step < steps:
                pairs = zip(self.patch, self.multiples, strict=True)
                return zoom, tuple(math.ceil(n / zoom / multiple) * multiple for n, multiple in pairs)
            step -= steps
        return 1.0, self.patch

    @property
    def multiples(self) -> tuple[int, int, int]:
        """Numbers of voxels that the sides of a patch must be multiples of. Raises ModelError."""
        return network_config(self.network).multiples

    @property
    def dice_weights(self) -> tuple[float, ...]:
        """Weights of the channels in Dice, background first."""
        weights = [1.0 if organ in self.output_organs else NEIGHBOUR_WEIGHT for organ in self.organs]
        return self.class_weights or (0.0, *weights)

    @property
    def hosts(self) -> tuple[int, ...]:
        """What each channel counts as where it was not annotated: a lesion as its organ, others as background."""
        return (0, *(self._host(organ) for organ in self.organs))

    def _host(self, organ: str) -> int:
        lesion = organ in BY_NAME and BY_NAME[organ].is_lesion
        return self.organs.index(host_of(organ)) + 1 if lesion and host_of(organ) in self.organs else 0

    def steps_an_epoch(self, cases: int, processes: int = 1) -> int:
        """Optimiser steps between validations."""
        return self.epoch_steps or max(1, -(-cases // (self.batch * processes)))

    def for_organs(self, organs: tuple[str, ...]) -> TrainingConfig:
        """The recipe for these organs alone. class_weights belong to the recipe's own organs, and are dropped."""
        if organs == self.organs:
            return self
        output_organs = tuple(organ for organ in organs if organ in self.output_organs) or organs
        return replace(self, organs=organs, output_organs=output_organs, class_weights=None)

    def for_known(self, known: Collection[str]) -> TrainingConfig:
        """The recipe for those of its channels whose organs are all known; their class_weights stay."""
        kept = [set(members(channel)) <= set(known) for channel in self.organs]
        organs = tuple(channel for channel, keep in zip(self.organs, kept, strict=True) if keep)
        weights = self.class_weights
        if weights is not None:
            weights = (weights[0], *(w for w, keep in zip(weights[1:], kept, strict=True) if keep))
        return replace(self.for_organs(organs), class_weights=weights)

    def for_weights(self, plan: Plan) -> TrainingConfig:
        """The recipe with the network, organs, HU window, patch and grid of weights, to train them further."""
        network = {key: value for key, value in plan.network.items() if key != "classes"}
        seen = replace(self, window_hu=plan.window_hu, scaled_to=plan.scaled_to, network=network, patch=plan.patch)
        known = replace(seen, organs=plan.organs, output_organs=plan.output_organs, class_weights=None)
        return replace(known, spacing_mm=plan.inference_spacing_mm, progressive=())

    def to_json(self) -> str:
        """Indented JSON, as it stands beside a checkpoint."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)


_SMALL = Augmentation(
    rotate_degrees=10.0, scale=(0.9, 1.1), stretch=0.0, elastic_mm=0.0, contrast=(0.9, 1.1), shift_hu=10.0,
    noise_hu=10.0, blur_mm=0.0, thick_slices_mm=0.0, organ_hu=0.0, oral=0.0, cut=0.0,
)  # fmt: skip
_WHOLE: dict[str, Any] = {"spacing_mm": None, "patch": (128, 128, 64), "epoch_steps": 0}
_PLAIN: dict[str, Any] = {"weight_decay": 0.0, "warmup_steps": 0, "clip": 0.0, "ema": 0.0}
_FIVE = (16, 32, 64, 128, 256)
_NEIGHBOURS = (
    "pancreas", "aorta", "inferior_vena_cava", "adrenal_gland_right", "adrenal_gland_left", "gallbladder", "esophagus",
    "stomach",
)  # fmt: skip


def _slices(architecture: str) -> TrainingConfig:
    """Whole slices, one at a time."""
    return TrainingConfig(
        recipe=architecture,
        network={"name": "slices", "architecture": architecture, "encoder": "resnet34"},
        spacing_mm=(1.6, 1.6, 3.0),
        patch=(256, 256, 1),
        batch=8,
        warmup_steps=50,
        loss_weights=(2.0, 1.0, 0.0),
        augmentation=replace(Augmentation(), elastic_mm=0.0, thick_slices_mm=0.0, oral=0.0, cut=0.0),
    )


# Where a system states nothing, ours is taken: the HU window, kernels of 3, two patches a batch.
RECIPES: Mapping[str, TrainingConfig] = MappingProxyType(
    {
        "default": TrainingConfig(
            learning_rate=1.5e-3,
            warmup_steps=50,
            # Dice at twice the entropy: an organ of 150 ml is one voxel in 300, and entropy alone teaches for hundreds
            # of steps that there is none.
            loss_weights=(2.0, 1.0, 0.0),
            progressive=((800, 2.0), (500, 1.5)),
            synthetic=0.15,
        ),
        # Coarse grids are for a start from scratch, which bears a rate of 2e-3; --from leaves them out.
        "organs": TrainingConfig(
            recipe="organs",
            organs=(*MAIN, *_NEIGHBOURS, "liver_tumour"),
            output_organs=(*MAIN, "liver_tumour"),
            network={
                "name": "vnet", "widths": (32, 64, 128, 256), "depths": (2, 2, 2, 2), "kernel": 3, "stem": 2,
                "norm": "batch", "activation": "relu", "join": "concat",
            },
            spacing_mm=(1.5, 1.5, 2.25),
            patch=(112, 112, 80),
            progressive=((400, 2.0), (300, 1.5)),
            batch=16,
            epochs=20,
            epoch_steps=1000,
            learning_rate=8e-4,
            warmup_steps=150,
            loss_weights=(1.5, 1.0, 0.0),
            class_weights=(0.0, 2.0, 3.0, 3.0, 2.0, *(0.5,) * len(_NEIGHBOURS), 2.0),
            synthetic=0.15,
            tumours=0.6,
            augmentation=replace(
                Augmentation(), rotate_degrees=12.0, scale=(0.8, 1.25), stretch=0.06, elastic_mm=5.0, noise_hu=45.0,
                contrast=(0.85, 1.18), shift_hu=15.0, oral=0.3, cut=0.2,
            ),
        ),
        "vnet-softmax": TrainingConfig(
            recipe="vnet-softmax",
            network={
                "name": "vnet", "widths": _FIVE, "depths": (2, 2, 2, 2, 2), "kernel": 3, "activation": "relu",
                "residual": False, "down": "maxpool", "join": "concat",
            },
            scaled_to=(0.0, 1.0),
            epochs=10,
            optimiser="adam",
            schedule="constant",
            loss_weights=(0.0, 1.0, 0.0),
            augmentation=_SMALL,
            **_WHOLE,
            **_PLAIN,
        ),
        "vnet-dice": TrainingConfig(
            recipe="vnet-dice",
            network={
                "name": "vnet", "widths": _FIVE, "depths": (1, 2, 3, 3, 3), "kernel": 3, "norm": "batch",
                "join": "concat",
            },
            epochs=100,
            epoch_steps=0,
            optimiser="adam",
            learning_rate=1e-4,
            loss_weights=(1.0, 0.0, 0.0),
            augmentation=Augmentation(
                rotate_degrees=15.0, scale=(0.85, 1.15), stretch=0.0, elastic_mm=0.0, mirror=0.5, contrast=(1.0, 1.0),
                shift_hu=0.0, noise_hu=0.0, blur_mm=0.0, thick_slices_mm=0.0, organ_hu=0.0, oral=0.0, cut=0.0,
            ),
            **_PLAIN,
        ),
        "vnet-dice-focal": TrainingConfig(
            recipe="vnet-dice-focal",
            organs=("liver", "kidney", "spleen"),
            output_organs=("liver", "kidney", "spleen"),
            network={
                "name": "vnet", "widths": (16, 32, 64, 128, 128), "depths": (1, 2, 2, 2, 2), "kernel": 3,
                "norm": "batch", "activation": "relu", "join": "concat", "plain_ends": True,
                "down": ("convolve-maxpool", "strided", "strided", "strided"), "dropout": 0.2,
            },
            epochs=100,
            epoch_steps=0,
            optimiser="adam",
            learning_rate=1e-4,
            schedule="constant",
            loss_weights=(1.0, 0.0, 1.0),
            class_weights=(0.26, 22.53, 22.53, 26.21),
            augmentation=NO_AUGMENTATION,
            **_PLAIN,
        ),
        "vnet-paper": TrainingConfig(
            recipe="vnet-paper",
            network={"name": "vnet"},
            epochs=100,
            optimiser="sgd",
            learning_rate=1e-4,
            schedule="constant",
            loss_weights=(1.0, 0.0, 0.0),
            augmentation=replace(_SMALL, elastic_mm=6.0),
            **_WHOLE,
            **_PLAIN,
        ),
        **{architecture: _slices(architecture) for architecture in ARCHITECTURES},
    }
)  # fmt: skip


def find_recipe(name: str | Path) -> TrainingConfig:
    """A recipe by name, or in a JSON file: a base under "recipe" and the fields that differ. Raises UsageError."""
    if str(name) in RECIPES:
        return RECIPES[str(name)]
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"{name}: no such recipe or file; recipes are {', '.join(RECIPES)}")
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: no recipe ({error}); compare it with the recipe.json of a run") from error


def _is_number(value: Any, low: float = 0.0, high: float = math.inf) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and low <= value <= high


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _are(count: int, value: Any, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, tuple) and len(value) == count and all(holds(part) for part in value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


# Fields, what they must be in words, and whether a value is. The network's own are checked by building it.
_ALLOWED: tuple[tuple[tuple[str, ...], str, Callable[[Any], bool]], ...] = (
    (("batch", "epochs"), "a whole number above 0", _is_count),
    (("epoch_steps", "warmup_steps"), "a whole number", lambda v: v == 0 or _is_count(v)),
    (("seed",), f"a whole number up to {MAX_SEED}", lambda v: v == 0 or (_is_count(v) and v <= MAX_SEED)),
    (("learning_rate",), "a number above 0", _is_positive),
    (("weight_decay", "clip"), "a number, 0 or more", _is_number),
    (("ema", "foreground", "synthetic", "diseases", "tumours"), "a number from 0 to 1", lambda v: _is_number(v, 0, 1)),
    (("loss_weights",), "three numbers, 0 or more", lambda v: _are(3, v, _is_number)),
    (("frozen_statistics",), "true or false", lambda v: isinstance(v, bool)),
    (("patch",), "three whole numbers above 0", lambda v: _are(3, v, _is_count)),
    (("spacing_mm", "inference_spacing_mm"), "null or three numbers above 0",
     lambda v: v is None or _are(3, v, _is_positive)),
    (("presence_threshold",), "null or a number from 0 to 1", lambda v: v is None or _is_number(v, 0, 1)),
    (("roi_downsampling",), "null or a whole number above 0", lambda v: v is None or _is_count(v)),
    (("progressive",), "a list of pairs: whole steps, and a zoom above 0",
     lambda v: isinstance(v, tuple) and all(_are(2, pair, _is_positive) and _is_count(pair[0]) for pair in v)),
    (("class_weights",), "null or a list of numbers, 0 or more, one of them above",
     lambda v: v is None or (isinstance(v, tuple) and all(map(_is_number, v)) and any(v))),
    (("network",), "the network's description", lambda v: isinstance(v, dict)),
    (("window_hu", "scaled_to"), "two numbers, the lower first",
     lambda v: _are(2, v, lambda n: _is_number(n, -math.inf)) and v[0] < v[1]),
    (("schedule",), "cosine, poly or constant", lambda v: v in ("cosine", "poly", "constant")),
    (("optimiser",), "adamw, adam or sgd", lambda v: v in ("adamw", "adam", "sgd")),
    (("organs", "output_organs"), "a list of names",
     lambda v: isinstance(v, tuple) and bool(v) and all(isinstance(n, str) for n in v)),
)  # fmt: skip


_AUGMENTATION_ALLOWED: tuple[tuple[tuple[str, ...], str, Callable[[Any], bool]], ...] = (
    (("scale", "contrast"), "two numbers above 0, the lower first",
     lambda v: _are(2, v, _is_positive) and v[0] <= v[1]),
    (("mirror", "organ_hu", "oral", "cut"), "a number from 0 to 1", lambda v: _is_number(v, 0, 1)),
    (("elastic_grid_mm",), "a number above 0", _is_positive),
    (("rotate_degrees", "stretch", "elastic_mm", "shift_hu", "noise_hu", "blur_mm", "thick_slices_mm"),
     "a number, 0 or more", _is_number),
)  # fmt: skip


def check_recipe(recipe: TrainingConfig) -> None:
    """What cannot be trained is said before anything is packed. Raises ModelError, UsageError."""
    check_fields(recipe)
    build_network(recipe.plan().network)
    if any(n % multiple for n, multiple in zip(recipe.patch, recipe.multiples, strict=True)):
        size, wanted = (" x ".join(map(str, numbers)) for numbers in (recipe.patch, recipe.multiples))
        raise UsageError(f"{recipe.recipe}: a patch of {size} voxels, but the network needs multiples of {wanted}")


def check_fields(recipe: TrainingConfig) -> None:
    """Checks all that can be without building the network. Raises UsageError."""
    for owner, table in ((recipe, _ALLOWED), (recipe.augmentation, _AUGMENTATION_ALLOWED)):
        for names, allowed, holds in table:
            for name in names:
                if not holds(value := getattr(owner, name)):
                    raise UsageError(f"{recipe.recipe}: {name} is {value!r}, but must be {allowed}")
    learnt = [organ for channel in recipe.organs for organ in members(channel)]
    if twice := [organ for organ in BY_NAME if learnt.count(organ) > 1]:
        raise UsageError(f"{recipe.recipe}: its organs ({', '.join(recipe.organs)}) name {', '.join(twice)} twice")
    if recipe.class_weights and len(recipe.class_weights) != len(recipe.organs) + 1:
        raise UsageError(
            f"{recipe.recipe}: class_weights are {len(recipe.class_weights)} numbers, but must be "
            f"{len(recipe.organs) + 1}: of the background and of each of its organs"
        )


def from_json(text: str) -> TrainingConfig:
    """What `to_json` wrote, or any part of it: other fields are the base recipe's.

    Fields may have the names of format 1. Raises ValueError, TypeError, AttributeError.
    """
    values = renamed(json.loads(text))
    base = RECIPES.get(values.get("recipe", "default"), RECIPES["default"])
    unknown = set(values) - {f.name for f in fields(TrainingConfig)}
    if unknown:
        raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")
    if "organs" in values:
        base = base.for_organs(_tuples(values["organs"]))
    if "augmentation" in values:
        values["augmentation"] = replace(base.augmentation, **_tuples(values["augmentation"]))
    return replace(base, **_tuples(values))


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples, at every depth."""
    if isinstance(value, dict):
        return {name: _tuples(part) for name, part in value.items()}
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value
