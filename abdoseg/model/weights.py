"""Weights on disk: safetensors with the plan in the header, and nothing that can run code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from abdoseg.errors import ModelError
from abdoseg.model.device import pick_device
from abdoseg.model.plan import FORMAT, FORMER_FORMAT, Plan
from abdoseg.model.slicewise import SliceNet, SliceNetConfig
from abdoseg.model.vnet import VNet, VNetConfig

DEFAULT = "organs"
NETWORKS: dict[str, tuple[type[nn.Module], Any]] = {"vnet": (VNet, VNetConfig), "slices": (SliceNet, SliceNetConfig)}


@dataclass(frozen=True, eq=False)
class Model:
    """A network ready to predict.

    digest: SHA-256 of the weights file, which names the model in records. ensemble: the models whose logits `network`
    averages; empty for one model.
    """

    plan: Plan
    network: nn.Module
    device: torch.device
    digest: str
    ensemble: tuple[Model, ...] = ()

    @property
    def parts(self) -> tuple[Model, ...]:
        """The models of an ensemble, or this one."""
        return self.ensemble or (self,)


def network_config(description: dict[str, Any]) -> VNetConfig | SliceNetConfig:
    """The shape of the network that a plan's `network` describes; nothing is built. Raises ModelError."""
    name = description.get("name")
    if name not in NETWORKS:
        raise ModelError(f"the network {name!r} is not known here; known are {', '.join(NETWORKS)}")
    config = NETWORKS[name][1]
    known = {f.name for f in fields(config)}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in description.items() if k != "name"}
    if not set(values) <= known:
        raise ModelError(f"the network's description has unknown fields: {', '.join(sorted(set(values) - known))}")
    with _holding_together():
        shape: VNetConfig | SliceNetConfig = config(**values)
    return shape


def build_network(description: dict[str, Any]) -> nn.Module:
    """The untrained network that a plan's `network` describes. Raises ModelError."""
    config = network_config(description)
    with _holding_together():
        return NETWORKS[description["name"]][0](config)


@contextmanager
def _holding_together() -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ModelError(f"the network's description does not hold together ({error})") from error


def to_bytes(network: nn.Module, plan: Plan) -> bytes:
    """The weights file's content: float16 tensors, and the plan as the only metadata, under the format's name."""
    tensors = {
        name: tensor.detach().to("cpu", torch.float16 if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    content: bytes = save(tensors, metadata={FORMAT: plan.to_json()})
    return content


def load_model(name: str | Path | None = None, device: str = "auto") -> Model:
    """The model in a weights file, or the bundled one of that name; the default one without a name.

    Raises ModelError when the file is missing, damaged, or not ours; ResourceError when the device is not there.
    """
    path = find_weights(name)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: not a readable .safetensors file ({error}); fetch or train it again") from error
    text = metadata.get(FORMAT) or metadata.get(FORMER_FORMAT)
    if text is None:
        if newer := [key for key in metadata if key.startswith("abdoseg-")]:
            raise ModelError(
                f"{path}: made by a newer version of abdoseg (format {newer[0]!r}, this one reads {FORMAT!r}); "
                "install the newer version"
            )
        raise ModelError(
            f"{path}: no abdoseg weights (their header would have {FORMAT!r}); name a file that train wrote"
        )
    plan = Plan.from_json(text)
    with torch.device("meta"):  # nothing is drawn at random for the file to replace
        network = build_network(plan.network)
    uncounted = [key for key in network.state_dict() if key.endswith("num_batches_tracked")]
    tensors |= {key: torch.zeros((), dtype=torch.long) for key in uncounted}
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        apart = " ".join(str(error).split())
        raise ModelError(f"{path}: the tensors do not fit the plan's network ({apart})") from error
    where = pick_device(device)
    return Model(plan, network.eval().to(where), where, digest)


def find_weights(name: str | Path | None) -> Path:
    """The file for a path or a bundled model's name. Raises ModelError that lists the bundled ones."""
    wanted = DEFAULT if name is None else name
    named = [] if name is None else [Path(name)]
    for path in (*named, *(folder / f"{wanted}.safetensors" for folder in _folders())):
        with suppress(OSError):  # too long for a name, or in a folder that is closed to us
            if path.is_file():
                return path
    subject = wanted if str(wanted) else "a model without a name"
    raise ModelError(f"{subject}: no such weights file or bundled model; bundled are {', '.join(bundled())}")


def bundled() -> list[str]:
    """Names of the models that came with the package."""
    return sorted({path.stem for folder in _folders() for path in folder.glob("*.safetensors")})


def _folders() -> tuple[Path, Path]:
    """Where bundled weights lie: in a wheel; in a clone."""
    package = Path(__file__).parents[1]
    return package / "weights", package.parent / "weights"
