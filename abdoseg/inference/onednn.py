"""V-Net inference fused for a CPU: batch norm folded into convolutions, ReLU and sums fused, weights packed once.

Through oneDNN's own operators, which PyTorch's compiler uses too; no compiler is needed here. By hand, because a tile
of 96 x 96 x 64 takes one core .324 s in float32 and .167 s in bfloat16, where PyTorch's own way takes .39 s and
.186 s and holds all logits at once: tests/benchmarks/network.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from abdoseg.model.vnet import Down, Stage, VNet, VNetConfig

CHANNELS_LAST = torch.channels_last_3d
HEAD_ROWS = 8192  # voxels of features that become logits at a time: 2 MB in bfloat16 for 13 classes
Activation = tuple[str, list[float]]  # oneDNN's name of what follows a convolution, and its numbers
IDENTITY: Activation = ("none", [])
RELU: Activation = ("relu", [])
Finish = Callable[[Tensor], Tensor]


def fusable(network: nn.Module) -> bool:
    """Whether FusedVNet can run the network, and PyTorch has the operators for it."""
    if not isinstance(network, VNet) or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    config = network.config
    return config.norm != "instance" and config.activation == "relu" and set(config.downs) == {"strided"}


class FusedVNet:
    """A `fusable` VNet, with ReLU and batch norm or none, for inference in float32 or bfloat16.

    Args:
        network: in evaluation mode, in float32.
        dtype: what it computes in.
        size: (I, J, K) of the tiles to come, for which weights are laid out; others are only slower.
        order: channels in the order of the output; the network's own when None.
    """

    def __init__(
        self, network: VNet, dtype: torch.dtype, size: Sequence[int], order: Sequence[int] | None = None
    ) -> None:
        config = network.config
        self.dtype, self.join = dtype, config.join
        sizes = stage_sizes(config, size)
        self.stem = (
            None if isinstance(network.stem, nn.Identity) else PackedConvolution(network.stem, None, dtype, size)
        )
        self.encoder = [
            FusedStage(stage, shape, dtype) for stage, shape in zip(_stages(network.encoder), sizes, strict=True)
        ]
        downs = [down.layers[0] for down in network.downs if isinstance(down, Down)]
        self.downs = [
            PackedConvolution(down, None, dtype, above) for down, above in zip(downs, sizes[:-1], strict=True)
        ]
        self.ups = [
            PackedConvolution(up, None, dtype, below) for up, below in zip(network.ups, sizes[:0:-1], strict=True)
        ]
        self.decoder = [
            FusedStage(stage, shape, dtype)
            for stage, shape in zip(_stages(network.decoder), sizes[-2::-1], strict=True)
        ]
        self.head = Head(network.head, dtype, config.classes, order)

    def __call__(self, image: Tensor, finish: Finish = lambda logits: logits) -> Tensor:
        """(1, 1, I, J, K) image -> (D, I, J, K) float16: what `finish` makes of the logits.

        finish: (classes, N) logits of any N voxels -> (D, N). It is given as many voxels as stay in the cache: all
        logits at once never exist.
        """
        return run_heads([self.head], [self.features(image)], finish)

    def features(self, image: Tensor) -> Tensor:
        """(1, 1, I, J, K) image -> (1, inputs, i, j, k): what the head takes."""
        x = image.to(self.dtype).contiguous(memory_format=CHANNELS_LAST)
        if self.stem is not None:
            x = self.stem(x)
        x = self.encoder[0](x)
        skips = [x]
        for down, stage in zip(self.downs, self.encoder[1:], strict=True):
            x = stage(down(x, RELU))
            skips.append(x)
        skips.pop()
        for up, stage in zip(self.ups, self.decoder, strict=True):
            skip, x = skips.pop(), up(x)
            x = stage(x + skip if self.join == "add" else torch.cat((skip, x), dim=1))
        return x


class Head:
    """The convolution that gives logits, transposed or 1 x 1 x 1, as one product: its blocks do not overlap."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype, classes: int, order: Sequence[int] | None) -> None:
        assert isinstance(layer, nn.Conv3d | nn.ConvTranspose3d)
        weight, bias = fold_norm(layer, None)
        weight = weight if layer.transposed else weight.transpose(0, 1)  # (inputs, classes, s, s, s)
        order = list(range(classes)) if order is None else list(order)
        weight, bias = weight[:, order], bias[order]
        self.stride, self.classes = int(layer.stride[0]), classes
        self.weight = weight.flatten(1).t().contiguous().to(dtype)  # (classes * s^3, inputs)
        self.bias = bias.to(dtype).view(-1, 1)

    def logits(self, rows: Tensor) -> Tensor:
        """(N, inputs) -> (classes, s^3 * N)."""
        return torch.mm(self.weight, rows.t()).view(self.classes, -1).add_(self.bias)


def run_heads(heads: Sequence[Head], features: Sequence[Tensor], finish: Finish) -> Tensor:
    """What `finish` makes of the logits of a head, or of the mean logits of several: (D, s * I, s * J, s * K) float16.

    heads: of one shape, their stride s. features: (1, inputs, I, J, K) for each head.
    """
    s, (i, j, k) = heads[0].stride, features[0].shape[2:]
    rows = [x.permute(0, 2, 3, 4, 1).reshape(-1, x.shape[1]) for x in features]  # (I * J * K, inputs), views
    finished = []
    for chunks in zip(*(torch.split(of_head, HEAD_ROWS) for of_head in rows), strict=True):
        logits = heads[0].logits(chunks[0])  # (classes, s^3 * N)
        for head, chunk in zip(heads[1:], chunks[1:], strict=True):
            logits += head.logits(chunk)
        if len(heads) > 1:
            logits /= len(heads)
        values = finish(logits).to(torch.float16)
        finished.append(values.view(len(values), s**3, len(chunks[0])))
    blocks = torch.cat(finished, dim=2).view(-1, s, s, s, i, j, k)  # each voxel of features is a block of s^3
    return blocks.permute(0, 4, 1, 5, 2, 6, 3).reshape(-1, i * s, j * s, k * s)


class FusedStage:
    """Convolutions with their norm and activation in one pass each; the last adds the stage's input as well."""

    def __init__(self, stage: Stage, size: Sequence[int], dtype: torch.dtype) -> None:
        layers = zip(stage.convolutions, stage.norms, strict=True)
        self.convolutions = [PackedConvolution(convolution, norm, dtype, size) for convolution, norm in layers]
        self.residual = stage.residual
        plain = isinstance(stage.shortcut, nn.Identity)
        self.shortcut = None if plain else PackedConvolution(stage.shortcut, None, dtype, size)

    def __call__(self, x: Tensor) -> Tensor:
        y = x
        for convolution in self.convolutions[:-1]:
            y = convolution(y, RELU)
        if not self.residual:
            return self.convolutions[-1](y, RELU)
        last = self.convolutions[-1]
        shortcut = x if self.shortcut is None else self.shortcut(x)
        if shortcut.shape[1] != last.outputs:
            shortcut = shortcut.expand(-1, last.outputs, -1, -1, -1).contiguous(memory_format=CHANNELS_LAST)
        return last(y, RELU, shortcut)


class PackedConvolution:
    """One convolution, transposed or not, its norm folded in and its weights in the layout that oneDNN asks for.

    The layout depends on the size of the input: one for another size made a layer eight times slower.
    transform: applied to the folded weight and bias before they are packed.
    """

    def __init__(
        self,
        layer: nn.Module,
        norm: nn.Module | None,
        dtype: torch.dtype,
        size: Sequence[int],
        transform: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda weight, bias: (weight, bias),
    ) -> None:
        assert isinstance(layer, nn.Conv3d | nn.ConvTranspose3d)
        self.ops: Any = torch.ops.mkldnn
        self.transposed = isinstance(layer, nn.ConvTranspose3d)
        self.outputs = layer.out_channels
        self.stride, self.padding, self.dilation = list(layer.stride), [int(p) for p in layer.padding], [1, 1, 1]
        weight, bias = transform(*fold_norm(layer, norm))
        self.bias = bias.to(dtype)
        self.weight = self._pack(weight.to(dtype), [1, layer.in_channels, *size])

    def _pack(self, weight: Tensor, input_shape: Sequence[int]) -> Tensor:
        """The weights in oneDNN's layout for inputs of that shape."""
        padding = (self.padding, [0, 0, 0]) if self.transposed else (self.padding,)
        pack = (
            self.ops._reorder_convolution_transpose_weight if self.transposed else self.ops._reorder_convolution_weight
        )
        packed: Tensor = pack(weight, *padding, self.stride, self.dilation, 1, input_shape)
        return packed

    def __call__(self, x: Tensor, activation: Activation = IDENTITY, residual: Tensor | None = None) -> Tensor:
        """The convolution of `x`, plus `residual`, then the activation."""
        geometry = (self.stride, self.dilation, 1)
        if self.transposed:
            y = self.ops._convolution_transpose_pointwise(
                x, self.weight, self.bias, self.padding, [0, 0, 0], *geometry, *activation, None
            )
        elif residual is None:
            y = self.ops._convolution_pointwise(x, self.weight, self.bias, self.padding, *geometry, *activation, None)
        else:
            y = self.ops._convolution_pointwise.binary(
                x, residual, self.weight, self.bias, self.padding, *geometry, "add", 1.0, *activation, None
            )
        result: Tensor = y
        return result


def stage_sizes(config: VNetConfig, size: Sequence[int]) -> list[list[int]]:
    """(I, J, K) that each stage sees of an image of that size, finest first."""
    return [[n // config.stem // 2**halvings for n in size] for halvings in range(len(config.widths))]


def fold_norm(layer: nn.Conv3d | nn.ConvTranspose3d, norm: nn.Module | None) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer with the batch norm that follows it, as in evaluation, folded in."""
    weight = layer.weight.detach().contiguous()
    bias = torch.zeros(layer.out_channels) if layer.bias is None else layer.bias.detach()
    if isinstance(norm, nn.BatchNorm3d):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        gain = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
        weight = weight * gain.view(-1, 1, 1, 1, 1)
        bias = (bias - norm.running_mean) * gain + norm.bias.detach()
    return weight, bias


def _stages(modules: nn.ModuleList) -> list[Stage]:
    return [module for module in modules if isinstance(module, Stage)]
