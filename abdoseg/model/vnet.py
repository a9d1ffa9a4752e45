"""V-Net (Milletari 2016) and its variants for 3-D segmentation, in dataflow order.

Source: Milletari, Navab, Ahmadi, "V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image
Segmentation", 3DV 2016, doi:10.1109/3DV.2016.79, figure 2 and table 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

HEAD_STD = 0.05  # of the head's initial weights: logits begin at some tenths
DOWNS = ("strided", "maxpool", "convolve-maxpool")


@dataclass(frozen=True)
class VNetConfig:
    """The shape of a V-Net; the defaults are the paper's.

    Attributes:
        classes: output channels, background included.
        widths: channels of the encoder's stages, finest first.
        depths: convolutions in each stage; the decoder's stages mirror the encoder's.
        kernel: edge of the stages' convolutions in voxels, odd.
        stem: stride of the first convolution. The paper has none, which is 1; with 2, blocks of 2x2x2 voxels become
            channels, the whole network works at half the resolution, and the head, a transposed convolution, returns
            to the full one.
        norm: after each convolution of a stage.
        activation: of the whole network.
        residual: whether a stage's input is added to its output.
        down: how the grid is halved between stages: "strided" convolution, "maxpool", or "convolve-maxpool"; one for
            all stages, or one each.
        join: how a decoder stage takes the skip connection. "wide" concatenates and stays as wide to its end, as the
            paper does; "concat" is back at the stage's width after its first convolution; "add" sums.
        dropout: fraction of channels dropped, after strided convolutions and before the head.
        plain_ends: the finest stages, first and last, are not residual.

    Raises:
        ValueError: the fields do not fit together.
    """

    classes: int = 5
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    depths: tuple[int, ...] = (1, 2, 3, 3, 3)
    kernel: int = 5
    stem: int = 1
    norm: Literal["none", "batch", "instance"] = "none"
    activation: Literal["prelu", "relu"] = "prelu"
    residual: bool = True
    down: str | tuple[str, ...] = "strided"
    join: Literal["wide", "concat", "add"] = "wide"
    dropout: float = 0.0
    plain_ends: bool = False

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.depths) or len(self.widths) < 2 or min(self.depths) < 1:
            raise ValueError(f"widths {self.widths} and depths {self.depths} must be as many, two at least")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} must be odd, to keep a stage's size")
        if len(self.downs) != len(self.widths) - 1 or not set(self.downs) <= set(DOWNS):
            raise ValueError(f"down {self.down} must be one of {', '.join(DOWNS)}, or {len(self.widths) - 1} of them")

    @property
    def downs(self) -> tuple[str, ...]:
        """How the grid is halved after each stage, finest first."""
        return (self.down,) * (len(self.widths) - 1) if isinstance(self.down, str) else self.down

    @property
    def stride(self) -> int:
        """Voxels of which patches must be a multiple on each axis."""
        return int(self.stem * 2 ** (len(self.widths) - 1))

    @property
    def multiples(self) -> tuple[int, int, int]:
        """The stride on each axis."""
        return (self.stride,) * 3


_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda channels: nn.Identity(),
    "batch": lambda channels: nn.BatchNorm3d(channels),
    "instance": lambda channels: nn.InstanceNorm3d(channels, affine=True),
}
_ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "prelu": lambda channels: nn.PReLU(channels),
    "relu": lambda channels: nn.ReLU(inplace=True),
}


class Stage(nn.Module):
    """Convolutions of one width; the stage's input is added before its last activation."""

    def __init__(self, inputs: int, width: int, depth: int, config: VNetConfig, end: bool = False) -> None:
        super().__init__()
        bias = config.norm == "none"
        sizes = [inputs, *[width] * depth]
        self.convolutions = nn.ModuleList(
            nn.Conv3d(a, b, config.kernel, padding=config.kernel // 2, bias=bias) for a, b in pairwise(sizes)
        )
        self.norms = nn.ModuleList(_NORMS[config.norm](width) for _ in range(depth))
        self.activations = nn.ModuleList(_ACTIVATIONS[config.activation](width) for _ in range(depth))
        self.residual = config.residual and not (end and config.plain_ends)
        # Where the width changes the residual is projected; a single channel is broadcast instead.
        self.shortcut = nn.Conv3d(inputs, width, 1) if self.residual and inputs not in (1, width) else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:  # (B, inputs, I, J, K) -> (B, width, I, J, K)
        y = x
        last = len(self.convolutions) - 1
        for n, (convolve, norm, act) in enumerate(zip(self.convolutions, self.norms, self.activations, strict=True)):
            y = norm(convolve(y))
            if n == last and self.residual:
                y = y + self.shortcut(x)
            y = act(y)
        return y


class VNet(nn.Module):
    """(B, 1, I, J, K) windowed HU -> (B, classes, I, J, K) logits; I, J, K multiples of `config.stride`."""

    layout = torch.channels_last_3d

    def __init__(self, config: VNetConfig) -> None:
        super().__init__()
        self.config = config
        self.multiples = config.multiples
        widths, depths = config.widths, config.depths
        first = 1 if config.stem == 1 else widths[0]
        self.stem = nn.Identity() if config.stem == 1 else nn.Conv3d(1, first, config.stem, stride=config.stem)
        self.encoder = nn.ModuleList([Stage(first, widths[0], depths[0], config, end=True)])
        self.downs = nn.ModuleList()
        for above, width, depth, kind in zip(widths[:-1], widths[1:], depths[1:], config.downs, strict=True):
            self.downs.append(Down(above, width, kind, config))
            self.encoder.append(Stage(above if kind == "maxpool" else width, width, depth, config))
        self.ups = nn.ModuleList()
        self.decoder = nn.ModuleList()
        below = widths[-1]
        for n in reversed(range(len(widths) - 1)):
            width, depth = widths[n], depths[n]
            joined = width if config.join == "add" else 2 * width
            out = joined if config.join == "wide" else width
            self.ups.append(nn.ConvTranspose3d(below, width, 2, stride=2))
            self.decoder.append(Stage(joined, out, depth, config, end=n == 0))
            below = out
        self.dropout = nn.Dropout3d(config.dropout)
        if config.stem == 1:
            self.head: nn.Module = nn.Conv3d(below, config.classes, 1)
        else:
            self.head = nn.ConvTranspose3d(below, config.classes, config.stem, stride=config.stem)
        if config.norm != "none":  # without norms, sums of that size would grow from stage to stage
            self._initialise()

    def _initialise(self) -> None:
        """Initialises weights so that activations keep their variance from layer to layer, and logits begin near 0.

        PyTorch's default begins a stride-2 transposed convolution at a third of that, and the deep stages are then
        drowned by the skip connections for hundreds of steps. Source: He 2015, doi:10.1109/ICCV.2015.123.
        """
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):  # the blocks of a transposed one do not overlap
                summed = layer.in_channels if layer.transposed else layer.weight[0].numel()
                nn.init.normal_(layer.weight, std=HEAD_STD if layer is self.head else (2 / summed) ** 0.5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.encoder[0](self.stem(image))  # (B, widths[0], I/stem, ...)
        skips = [x]
        for down, stage in zip(self.downs, self.encoder[1:], strict=True):
            x = stage(down(x))  # (B, widths[n], I/stem/2^n, ...)
            skips.append(x)
        skips.pop()
        for up, stage in zip(self.ups, self.decoder, strict=True):
            skip = skips.pop()
            x = up(x)
            x = x + skip if self.config.join == "add" else torch.cat((skip, x), dim=1)
            x = stage(x)
        logits: Tensor = self.head(self.dropout(x))  # (B, classes, I, J, K)
        return logits


class Down(nn.Module):
    """Halves the grid, and goes on to the next stage's width unless it is plain max-pooling."""

    def __init__(self, inputs: int, width: int, kind: str, config: VNetConfig) -> None:
        super().__init__()
        act = _ACTIVATIONS[config.activation]
        if kind == "strided":
            self.layers = nn.Sequential(nn.Conv3d(inputs, width, 2, stride=2), act(width), nn.Dropout3d(config.dropout))
        elif kind == "maxpool":
            self.layers = nn.Sequential(nn.MaxPool3d(2))
        else:
            convolve = nn.Conv3d(inputs, width, config.kernel, padding=config.kernel // 2)
            self.layers = nn.Sequential(convolve, act(width), nn.MaxPool3d(2))

    def forward(self, x: Tensor) -> Tensor:  # (B, inputs, I, J, K) -> (B, width or inputs, I/2, J/2, K/2)
        y: Tensor = self.layers(x)
        return y
