"""A V-Net whose convolutions multiply bytes: what lies between two of them is uint8 where it can be.

Each feature map has a code: its values are steps of one size from one zero, both from the range that was measured when
the weights were made. So nothing is looked at twice: a convolution ends in bytes, or in float32 that is counted in
steps already, and ReLU is where bytes end. An AVX2 processor multiplies bytes faster than float32, one with VNNI four
times as fast. Source: Jacob 2018, doi:10.1109/CVPR.2018.00286. Measured in tests/benchmarks/network.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from abdoseg.inference.onednn import CHANNELS_LAST, Head, Logits, Packed, Then, folded, fusable, stage_sizes
from abdoseg.model.vnet import Down, Stage, VNet, VNetConfig

Ranges = Mapping[str, Sequence[float]]
HALF = 0.5  # added to what is cut off to whole numbers later
TOP = 255.49  # and below 256 with it


class Code(NamedTuple):
    """A value v is `v / step + zero`: as a byte rounded, as float32 with a HALF added, so that its whole part is it."""

    step: float
    zero: int = 0

    @classmethod
    def of(cls, *ranges: Sequence[float]) -> Code:
        """The code that holds the ranges and 0."""
        low, high = min(0.0, *(r[0] for r in ranges)), max(0.0, *(r[1] for r in ranges))
        step = max(high - low, 1e-6) / 255
        return cls(step, round(-low / step))

    @property
    def nought(self) -> float:
        """What 0 is in float32."""
        return self.zero + HALF


def fits(network: nn.Module) -> bool:
    """Whether ByteVNet knows the network."""
    if not fusable(network):
        return False
    assert isinstance(network, VNet)
    config = network.config
    return config.stem > 1 and config.residual and not config.plain_ends and config.join == "concat"


def ranges_of(network: nn.Module, images: Iterable[Tensor]) -> dict[str, tuple[float, float]]:
    """The least and the most of each feature map that becomes bytes, by the module it comes out of.

    images: (B, 1, I, J, K) as the network is given them, like those that it will see: what lies beyond what they bring
    forth will be cut off. Empty for a network that ByteVNet does not know.
    """
    if not fits(network):
        return {}
    assert isinstance(network, VNet)
    found: dict[str, tuple[float, float]] = {}

    def watch(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
            low, high = (float(end) for end in torch.aminmax(output))
            least, most = found.get(name, (0.0, 0.0))
            found[name] = min(low, least), max(high, most)

        return note

    with ExitStack() as hooks, torch.inference_mode():
        for name in _become_bytes(network.config):
            hooks.callback(network.get_submodule(name).register_forward_hook(watch(name)).remove)
        network.eval()
        for image in images:
            network(image)
    return {name: (round(low, 4), round(high, 4)) for name, (low, high) in sorted(found.items())}


def _become_bytes(config: VNetConfig) -> set[str]:
    """The modules whose results become bytes: the stem, what is joined, what goes down, all but the last of a stage."""
    last = len(config.widths) - 1
    outer = {f"{kind}.{n}" for kind in ("encoder", "downs", "ups") for n in range(last)}
    depths = {"encoder": config.depths, "decoder": config.depths[-2::-1]}
    inner = {f"{side}.{n}.activations.{i}" for side in depths for n, d in enumerate(depths[side]) for i in range(d - 1)}
    return {"stem"} | outer | inner


class ByteVNet:
    """A VNet that `fits`, for inference. ranges: as `ranges_of` gives them. size, order: as for FusedVNet."""

    def __init__(self, network: VNet, ranges: Ranges, size: Sequence[int], order: Sequence[int] | None = None) -> None:
        config = network.config
        last = len(config.widths) - 1
        sizes = stage_sizes(config, size)
        # What is joined has one code: a stage of the encoder and what comes up to it.
        joined = [Code.of(ranges[f"encoder.{n}"], ranges[f"ups.{last - 1 - n}"]) for n in range(last)]
        downs = [down.layers[0] for down in network.downs if isinstance(down, Down)]
        stem = Code.of(ranges["stem"])
        self.stem = _coded(network.stem, size, None, stem)
        self.encoder, self.downs = [], []
        code = stem
        for n, stage in enumerate(network.encoder):
            assert isinstance(stage, Stage)
            self.encoder.append(EncoderStage(stage, f"encoder.{n}", ranges, sizes[n], code, (*joined, None)[n]))
            if n < last:
                code = Code.of(ranges[f"downs.{n}"])
                self.downs.append(_coded(downs[n], sizes[n], joined[n], code))
        self.ups, self.decoder = [], []
        for n, (up, stage) in enumerate(zip(network.ups, network.decoder, strict=True)):
            assert isinstance(stage, Stage)
            code, shape = joined[last - 1 - n], sizes[last - 1 - n]
            self.ups.append(_coded(up, sizes[last - n], None, code))
            self.decoder.append(DecoderStage(stage, f"decoder.{n}", ranges, shape, code))
        self.head = Head(network.head, torch.float32, config.classes, order)

    def __call__(self, image: Tensor, finish: Logits = lambda logits: logits) -> Tensor:
        """(1, 1, I, J, K) image -> (D, I, J, K) float16: what `finish` makes of the logits, as in FusedVNet."""
        convolve, then = self.stem
        x = convolve(image.contiguous(memory_format=CHANNELS_LAST), then)
        skips = []
        for stage, (down, then) in zip(self.encoder[:-1], self.downs, strict=True):
            y = stage(x)
            skips.append(_bytes_of(y))
            x = down(y, then)
        x = self.encoder[-1](x)
        for (up, then), decode in zip(self.ups, self.decoder, strict=True):
            rows = [part.permute(0, 2, 3, 4, 1) for part in (skips.pop(), _bytes_of(up(x, then)))]
            x = decode(torch.cat(rows, dim=4).permute(0, 4, 1, 2, 3))
        return self.head(x, finish)


class EncoderStage:
    """Convolutions in bytes, and the stage's input added: float32 in a code -> float32 in another, or uncoded."""

    def __init__(
        self, stage: Stage, name: str, ranges: Ranges, size: Sequence[int], code: Code, coded: Code | None
    ) -> None:
        step, self.nought = (coded.step, coded.nought) if coded else (1.0, 0.0)
        self.share = code.step / step
        self.convolutions = _chain(stage, name, ranges, size, code, step, self.nought - self.share * code.nought)

    def __call__(self, x: Tensor) -> Tensor:
        y = _bytes_of(x)
        for convolution in self.convolutions:
            y = convolution(y)
        return y.add_(x, alpha=self.share).clamp_(self.nought, TOP if self.nought else None)


class DecoderStage:
    """Convolutions in bytes, and the projected input added: bytes -> float32, uncoded."""

    def __init__(self, stage: Stage, name: str, ranges: Ranges, size: Sequence[int], code: Code) -> None:
        self.convolutions = _chain(stage, name, ranges, size, code, 1.0, 0.0)
        self.shortcut = ByteConvolution(stage.shortcut, None, size, code)

    def __call__(self, x: Tensor) -> Tensor:
        y = x
        for convolution in self.convolutions:
            y = convolution(y)
        return y.add_(self.shortcut(x)).relu_()


def _chain(
    stage: Stage, name: str, ranges: Ranges, size: Sequence[int], code: Code, step: float, offset: float
) -> list[ByteConvolution]:
    """A stage's convolutions, each from the bytes that the one before ends in; the last gives float32."""
    chain = []
    for n, (convolution, norm) in enumerate(zip(stage.convolutions, stage.norms, strict=True)):
        if n == len(stage.convolutions) - 1:
            chain.append(ByteConvolution(convolution, norm, size, code, step, offset))
        else:
            after = Code.of(ranges[f"{name}.activations.{n}"])
            chain.append(ByteConvolution(convolution, norm, size, code, after=after))
            code = after
    return chain


class ByteConvolution:
    """One convolution of bytes, its norm folded in, each output channel's weights in steps of their own.

    code: of what comes in. after: of the bytes that come out, ReLU applied; without, float32 in steps of `step` from
    `offset`.
    """

    def __init__(
        self,
        layer: nn.Module,
        norm: nn.Module | None,
        size: Sequence[int],
        code: Code,
        step: float = 1.0,
        offset: float = 0.0,
        after: Code | None = None,
    ) -> None:
        assert isinstance(layer, nn.Conv3d)
        self.ops: Any = torch.ops.onednn
        weight, bias = folded(layer, norm)
        scales = weight.abs().amax(dim=(1, 2, 3, 4)).clamp(min=1e-12) / 127
        whole = (weight / scales.view(-1, 1, 1, 1, 1)).round().to(torch.int8)
        self.where = (list(layer.stride), [int(p) for p in layer.padding], [1, 1, 1], 1)
        self.weight = self.ops.qconv_prepack(whole, scales, 1.0, 1, *self.where, [1, layer.in_channels, *size])
        self.code, self.scales, self.bias = code, scales / step, bias / step + offset
        self.zeros = torch.zeros(len(weight), dtype=torch.int32)
        self.result = (1.0, 0, torch.float32) if after is None else (*after, torch.uint8)

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = self.ops.qconv3d_pointwise(
            x, *self.code, self.weight, self.scales, self.zeros, self.bias, *self.where, *self.result, "none", [], None
        )
        return y


def _coded(layer: nn.Module, size: Sequence[int], code: Code | None, after: Code) -> tuple[Packed, Then]:
    """A convolution in float32 from one code, or none, to another, and the clipping that goes with it.

    Where the other has 0 as its least, ReLU is applied. A transposed convolution takes what is not coded.
    """

    def recoded(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        step, nought = (1.0, 0.0) if code is None else (code.step, code.nought)
        weight = weight * (step / after.step)
        before = nought * weight.flatten(1).sum(dim=1) if nought else 0.0
        return weight, bias / after.step + after.nought - before

    least = HALF if after.zero == 0 else 0.0
    return Packed(layer, None, torch.float32, size, recoded), ("hardtanh", [least, TOP])


def _bytes_of(x: Tensor) -> Tensor:
    """The whole part of what is coded: (1, C, I, J, K), channels last in memory."""
    return x.permute(0, 2, 3, 4, 1).to(torch.uint8).permute(0, 4, 1, 2, 3)
