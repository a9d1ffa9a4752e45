"""Checkpoints: the state of a training run in one safetensors file, written atomically, read without pickle."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from abdoseg.errors import TrainingError
from abdoseg.runtime.files import writing

# Fields of Progress, and keys of its `extra`, as format 1 had them.
FORMER_FIELDS = {"losses": "loss_sum", "counted": "loss_count"}
FORMER_LIMITS = {"patience": "early_stopping"}
FORMER_EXTRA = {"began_from": "warm_start", "terms": "limits"}


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: optimiser steps done.
        seconds: time spent training, all sittings together.
        best: the highest mean Dice of the output organs so far; best_step: where it was reached.
        loss_sum, loss_count: the sum of the losses of the epoch that is under way, and their number.
        confusion: its training voxels by true and predicted channel, empty for none.
        validation_s: how long the last validation took; validated_s: when in `seconds` it ended.
        extra: the run's limits, a digest of its data, and the weights that it began with.
    """

    step: int = 0
    seconds: float = 0.0
    best: float = -1.0
    best_step: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    confusion: list[list[int]] = field(default_factory=list)
    validation_s: float = 0.0
    validated_s: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> Progress:
        """The progress in a checkpoint, of this format or the former. Raises ValueError, TypeError."""
        values = _renamed(json.loads(text), FORMER_FIELDS)
        extra = _renamed(values.get("extra", {}), FORMER_EXTRA)
        if "limits" in extra:
            extra["limits"] = _renamed(extra["limits"], FORMER_LIMITS)
        return cls(**{**values, "extra": extra})


def _renamed(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}


def update_ema(ema: dict[str, Tensor], network: nn.Module, decay: float, step: int) -> None:
    """Moves the exponential moving average of the weights towards the network's, in place; faster at first."""
    decay = min(decay, (1 + step) / (10 + step))
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            ema[name].lerp_(tensor.detach(), 1 - decay)
        else:
            ema[name].copy_(tensor)


def save_checkpoint(
    path: Path, network: nn.Module, ema: dict[str, Tensor], optimiser: Optimizer, progress: Progress
) -> None:
    """Writes all that the next step depends on. Raises OutputError; the former checkpoint is then intact."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in ema.items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": torch.as_tensor(value) for name, value in state.items()}
    tensors |= {f"random.{name}": state for name, state in _random_states().items()}
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with writing(path, overwrite=True) as temporary:
        try:
            save_file(tensors, temporary, metadata={"progress": json.dumps(vars(progress))})
        except SafetensorError as error:
            code = re.search(r"os error (\d+)", str(error))
            raise OSError(int(code[1]) if code else None, str(error)) from error


def read_progress(path: Path) -> Progress:
    """The progress in a checkpoint. Raises TrainingError when the file is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return Progress.from_json(file.metadata()["progress"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _refusal(path, error) from error


def load_checkpoint(path: Path, network: nn.Module, optimiser: Optimizer) -> tuple[dict[str, Tensor], Progress]:
    """Puts a checkpoint's state into the network, the optimiser and the random generators.

    Returns:
        The moving average of the weights, and the progress.

    Raises:
        TrainingError: the file is damaged or another network's.
    """
    try:
        progress = read_progress(path)
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        network.load_state_dict(_under("network.", tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in _under("optimiser.", tensors).items():
            number, name = key.split(".", 1)
            state.setdefault(int(number), {})[name] = tensor
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
        for parameter, moments in optimiser.state.items():  # fused optimisers want them laid out as their parameter is
            moments |= {name: torch.empty_like(parameter).copy_(tensor)
                        for name, tensor in moments.items() if tensor.shape == parameter.shape}  # fmt: skip
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise _refusal(path, error) from error
    random = _under("random.", tensors)
    if "cpu" in random:
        torch.set_rng_state(random["cpu"])
    if "cuda" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random["cuda"])
    device = next(network.parameters()).device
    return {name: tensor.to(device) for name, tensor in _under("average.", tensors).items()}, progress


def _refusal(path: Path, error: Exception) -> TrainingError:
    detail = " ".join(str(error).split())[:200]
    return TrainingError(
        f"{path}: no checkpoint of this recipe ({detail}); name another folder with -o, or --overwrite it"
    )


def _random_states() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
