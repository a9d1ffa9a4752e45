"""Inference backends: which precision a model runs in, and its network or networks fused or quantized for a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from abdoseg.inference.onednn import Finish, FusedVNet, fusable, run_heads
from abdoseg.inference.quantized import ActivationRanges, QuantizedVNet, can_quantize
from abdoseg.model.device import fastest_float
from abdoseg.model.vnet import VNet
from abdoseg.model.weights import Model


def precision(model: Model) -> torch.dtype:
    """What the model computes in on its device: the fastest that it can, where torch.int8 means quantized.

    On a CPU that is int8 from AVX2 on, and bfloat16 only with AMX. Seconds of a tile of 96 x 96 x 64 on one core
    (tests/benchmarks/network.py), by instruction set:

    | | int8 | bfloat16 | float32 |
    |---|---|---|---|
    | AVX512 with VNNI and bfloat16 | .113 | .167 | .324 |
    | AVX512 with VNNI | .113 | .951 | .324 |
    | AVX512 | .185 | .961 | .329 |
    | AVX2 | .198 | - | .328 |

    With AMX bfloat16 takes half of what int8 takes without (weights/LOG.md, 1); int8 was not measured there. An
    ensemble is quantized where each of its models can be.
    """
    faster = model.device.type == "cpu" and _has("avx2") and not _has("amx_tile")
    if faster and all(can_quantize(part.network, part.plan.activation_ranges) for part in model.parts):
        return torch.int8
    return fastest_float(model.device)


def precision_name(model: Model) -> str:
    """Its precision as records and resources name it: int8, bfloat16 or float32."""
    return str(precision(model)).removeprefix("torch.")


def _has(instructions: str) -> bool:
    """Whether this CPU has an instruction set; not, where PyTorch does not say."""
    return bool(getattr(torch.cpu, f"_is_{instructions}_supported", bool)())


def fuse(
    network: nn.Module,
    dtype: torch.dtype,
    size: Sequence[int],
    order: Sequence[int] | None = None,
    ranges: ActivationRanges | None = None,
) -> FusedVNet | QuantizedVNet | None:
    """The network fused or quantized for this CPU.

    Args:
        network: in evaluation mode.
        dtype: what it shall compute in; float32 where it cannot be quantized.
        size: (I, J, K) of the tiles to come, for which weights are laid out; others are only slower.
        order: channels in the order of the output; the network's own when None.
        ranges: the plan's activation ranges, needed for torch.int8.

    Returns:
        None where the network or PyTorch cannot be fused: then the network runs as it is.
    """
    if not fusable(network):
        return None
    assert isinstance(network, VNet)
    try:
        fused = (
            QuantizedVNet(network, ranges or {}, size, order)
            if dtype == torch.int8
            else FusedVNet(network, dtype, size, order)
        )
        fused(torch.zeros(1, 1, *[2 * network.config.stride] * 3))
    except (AttributeError, RuntimeError, KeyError):  # an operator or a range is missing, or the processor unknown
        return fuse(network, torch.float32, size, order) if dtype == torch.int8 else None
    return fused


class FusedEnsemble:
    """Networks of one shape, each fused or quantized; of all at once only what their heads take is kept."""

    def __init__(self, networks: Sequence[FusedVNet | QuantizedVNet]) -> None:
        self.networks = networks

    def __call__(self, image: Tensor, finish: Finish = lambda logits: logits) -> Tensor:
        """(1, 1, I, J, K) image -> (D, I, J, K) float16: what `finish` makes of the mean logits, as in FusedVNet."""
        features = [network.features(image) for network in self.networks]
        return run_heads([network.head for network in self.networks], features, finish)


def fuse_model(
    model: Model, dtype: torch.dtype, size: Sequence[int], order: Sequence[int] | None = None
) -> FusedVNet | QuantizedVNet | FusedEnsemble | None:
    """A model's network, or those of its ensemble, fused as `fuse` does; None where one of them cannot be."""
    fused = [fuse(part.network, dtype, size, order, part.plan.activation_ranges) for part in model.parts]
    ready = [network for network in fused if network is not None]
    if len(ready) < len(fused):
        return None
    return FusedEnsemble(ready) if model.ensemble else ready[0]
