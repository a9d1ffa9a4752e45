"""A V-Net as the processor likes it: norms folded into convolutions, activations and sums fused, weights packed once.

Through oneDNN's own operators, which PyTorch's compiler uses too; no compiler is needed here. Measured against eager
channels-last and OpenVINO in tests/benchmarks/network.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from abdoseg.model.vnet import Down, Stage, VNet, VNetConfig

CHANNELS_LAST = torch.channels_last_3d
ROWS = 8192  # of features that become logits at a time: 2 MB in bfloat16 for 13 classes
Then = tuple[str, list[float]]  # what follows a convolution, and its numbers
NOTHING: Then = ("none", [])
RELU: Then = ("relu", [])
Logits = Callable[[Tensor], Tensor]


def fusable(network: nn.Module) -> bool:
    """Whether the network is one that FusedVNet knows, and PyTorch has the operators for it."""
    if not isinstance(network, VNet) or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    config = network.config
    return config.norm != "instance" and config.activation == "relu" and set(config.downs) == {"strided"}


class FusedVNet:
    """A VNet with ReLU and batch norm or none, for inference."""

    def __init__(
        self, network: VNet, dtype: torch.dtype, size: Sequence[int], order: Sequence[int] | None = None
    ) -> None:
        config = network.config
        self.dtype, self.join = dtype, config.join
        sizes = stage_sizes(config, size)
        self.stem = None if isinstance(network.stem, nn.Identity) else Packed(network.stem, None, dtype, size)
        self.encoder = [FusedStage(*of, dtype) for of in zip(_stages(network.encoder), sizes, strict=True)]
        downs = [down.layers[0] for down in network.downs if isinstance(down, Down)]
        self.downs = [Packed(down, None, dtype, above) for down, above in zip(downs, sizes[:-1], strict=True)]
        self.ups = [Packed(up, None, dtype, below) for up, below in zip(network.ups, sizes[:0:-1], strict=True)]
        self.decoder = [FusedStage(*of, dtype) for of in zip(_stages(network.decoder), sizes[-2::-1], strict=True)]
        self.head = Head(network.head, dtype, config.classes, order)

    def __call__(self, image: Tensor, finish: Logits = lambda logits: logits) -> Tensor:
        """(1, 1, I, J, K) image -> (D, I, J, K) float16: what `finish` makes of the logits.

        finish: (classes, N) logits of any N voxels -> (D, N). It is given as many voxels as stay in the cache: all
        logits at once never exist.
        """
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
        return self.head(x, finish)


class Head:
    """The convolution that gives logits, transposed or 1 x 1 x 1, as one product: its blocks do not overlap."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype, classes: int, order: Sequence[int] | None) -> None:
        assert isinstance(layer, nn.Conv3d | nn.ConvTranspose3d)
        weight, bias = folded(layer, None)
        weight = weight if layer.transposed else weight.transpose(0, 1)  # (inputs, classes, s, s, s)
        order = list(range(classes)) if order is None else list(order)
        weight, bias = weight[:, order], bias[order]
        self.step, self.classes = int(layer.stride[0]), classes
        self.weight = weight.flatten(1).t().contiguous().to(dtype)  # (classes * s^3, inputs)
        self.bias = bias.to(dtype).view(-1, 1)

    def __call__(self, x: Tensor, finish: Logits) -> Tensor:
        """(1, inputs, I, J, K) -> (D, s * I, s * J, s * K) float16."""
        rows = x.permute(0, 2, 3, 4, 1).reshape(-1, x.shape[1])  # (I * J * K, inputs), a view
        parts = [self._finished(part, finish) for part in torch.split(rows, ROWS)]
        s, (i, j, k) = self.step, x.shape[2:]
        planes = torch.cat(parts, dim=2).view(-1, s, s, s, i, j, k)
        return planes.permute(0, 4, 1, 5, 2, 6, 3).reshape(-1, i * s, j * s, k * s)

    def _finished(self, rows: Tensor, finish: Logits) -> Tensor:
        """(N, inputs) -> (D, s^3, N) float16."""
        logits = torch.mm(self.weight, rows.t()).view(self.classes, -1)  # (classes, s^3 * N)
        logits += self.bias
        done = finish(logits).to(torch.float16)
        return done.view(len(done), self.step**3, len(rows))


class FusedStage:
    """Convolutions with their norm and activation in one pass each; the last adds the stage's input as well."""

    def __init__(self, stage: Stage, size: Sequence[int], dtype: torch.dtype) -> None:
        layers = zip(stage.convolutions, stage.norms, strict=True)
        self.convolutions = [Packed(convolution, norm, dtype, size) for convolution, norm in layers]
        self.residual = stage.residual
        plain = isinstance(stage.shortcut, nn.Identity)
        self.shortcut = None if plain else Packed(stage.shortcut, None, dtype, size)

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


class Packed:
    """One convolution, transposed or not, its norm folded in and its weights in the layout that oneDNN asks for.

    It asks for another one by the size of the input; a guess has cost a layer eight times its time. changed: what else
    is to become of weight and bias.
    """

    def __init__(
        self,
        layer: nn.Module,
        norm: nn.Module | None,
        dtype: torch.dtype,
        size: Sequence[int],
        changed: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda weight, bias: (weight, bias),
    ) -> None:
        assert isinstance(layer, nn.Conv3d | nn.ConvTranspose3d)
        self.ops: Any = torch.ops.mkldnn
        self.transposed = isinstance(layer, nn.ConvTranspose3d)
        self.outputs = layer.out_channels
        self.stride, self.padding, self.dilation = list(layer.stride), [int(p) for p in layer.padding], [1, 1, 1]
        weight, bias = changed(*folded(layer, norm))
        self.bias = bias.to(dtype)
        self.weight = self._packed(weight.to(dtype), [1, layer.in_channels, *size])

    def _packed(self, weight: Tensor, sample: Sequence[int]) -> Tensor:
        """The weights as oneDNN wants them for inputs of the shape `sample`."""
        reach = (self.padding, [0, 0, 0]) if self.transposed else (self.padding,)
        pack = (
            self.ops._reorder_convolution_transpose_weight if self.transposed else self.ops._reorder_convolution_weight
        )
        packed: Tensor = pack(weight, *reach, self.stride, self.dilation, 1, sample)
        return packed

    def __call__(self, x: Tensor, then: Then = NOTHING, added: Tensor | None = None) -> Tensor:
        """The convolution of `x`, and `then` its activation; `added` is summed before that."""
        where = (self.stride, self.dilation, 1)
        if self.transposed:
            y = self.ops._convolution_transpose_pointwise(
                x, self.weight, self.bias, self.padding, [0, 0, 0], *where, *then, None
            )
        elif added is None:
            y = self.ops._convolution_pointwise(x, self.weight, self.bias, self.padding, *where, *then, None)
        else:
            y = self.ops._convolution_pointwise.binary(
                x, added, self.weight, self.bias, self.padding, *where, "add", 1.0, *then, None
            )
        result: Tensor = y
        return result


def stage_sizes(config: VNetConfig, size: Sequence[int]) -> list[list[int]]:
    """(I, J, K) that each stage sees of an image of that size, finest first."""
    return [[n // config.stem // 2**times for n in size] for times in range(len(config.widths))]


def folded(layer: nn.Conv3d | nn.ConvTranspose3d, norm: nn.Module | None) -> tuple[Tensor, Tensor]:
    """Weight and bias of the layer with the batch norm that follows it, in inference, folded in."""
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
