"""Pretrained encoders: a local safetensors file for the encoder of a network on slices, checked by name and shape."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from abdoseg.errors import ModelError
from abdoseg.model.slicewise import SliceNet

PREFIX = "encoder."  # of a whole network's tensors, which may be given as they are


def load_encoder(network: nn.Module, path: Path) -> str:
    """Puts a file's tensors into the encoder of a network on slices.

    Kernels for red, green and blue are summed, as there is one channel. Tensors that the encoder does not have, such as
    a classifier's, are left out; all that it has must be there.

    Returns:
        The file's name and SHA-256, for the model card.

    Raises:
        ModelError: the network has no such encoder; the file cannot be read, or has other names or shapes.
    """
    if not isinstance(network, SliceNet):
        raise ModelError(
            "--encoder-weights are for networks on slices; give --recipe unetplusplus, manet or deeplabv3plus"
        )
    try:
        given = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: not a readable .safetensors file ({error}); convert the weights to one") from error
    _put(network.encoder, {name.removeprefix(PREFIX): tensor for name, tensor in given.items()}, path)
    return f"{path.name}, SHA-256 `{hashlib.sha256(path.read_bytes()).hexdigest()}`"


def _put(encoder: nn.Module, given: dict[str, Tensor], path: Path) -> None:
    wanted = {name: tensor for name, tensor in encoder.state_dict().items() if not name.endswith("num_batches_tracked")}
    missing = [name for name in wanted if name not in given]
    fitting = {name: _one_channel(given[name], tensor) for name, tensor in wanted.items() if name in given}
    apart = [
        f"{name} {tuple(tensor.shape)} there and {tuple(wanted[name].shape)} here"
        for name, tensor in fitting.items()
        if tensor.shape != wanted[name].shape
    ]
    if missing or apart:
        absent = [f"{len(missing)} of {len(wanted)} tensors are missing ({', '.join(missing[:3])})"] if missing else []
        raise ModelError(f"{path}: another network's encoder: {'; '.join([*absent, *apart[:3]])}")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(fitting[name])


def _one_channel(tensor: Tensor, wanted: Tensor) -> Tensor:
    """A first convolution's kernels (N, 3, I, J) as (N, 1, I, J) where one channel is wanted."""
    colours = tensor.ndim == 4 and tensor.shape[1] == 3 and wanted.shape[1:2] == (1,)
    return tensor.sum(dim=1, keepdim=True) if colours else tensor
