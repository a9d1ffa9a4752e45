"""Quantized (int8) inference of the V-Net on a CPU: activations are uint8 with a scale and zero point per feature map.

By hand, because PyTorch quantizes a network only through its compiler. A tile of 96 x 96 x 64 takes one core .113 s,
where float32 takes .324 s and bfloat16 .167 s (fused, AVX512 with VNNI), and .20 s for .33 s with AVX2 alone:
tests/benchmarks/network.py. Scales and zero points are fixed when weights are made, from the activation ranges of
calibration images, so inference never looks for a minimum or maximum. Weights are int8 with a scale per channel.

Only the stages' convolutions are int8; stem, downs, ups and head have few operations and stay in float32. Between the
two no pass over the values is spent on quantizing: scale and zero point are folded into the weights and bias of the
float32 layer, which so gives or takes quantized values that are not rounded yet. `_to_uint8` then only truncates.
Source: Jacob 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
doi:10.1109/CVPR.2018.00286.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from abdoseg.inference.onednn import (
    CHANNELS_LAST,
    Activation,
    Finish,
    Head,
    PackedConvolution,
    fold_norm,
    fusable,
    run_heads,
    stage_sizes,
)
from abdoseg.model.vnet import Down, Stage, VNet, VNetConfig

ActivationRanges = Mapping[str, Sequence[float]]
ROUNDING = 0.5  # added to quantized values in float32, so that truncation to uint8 rounds
QUANTIZED_MAX = 255.49  # in float32, below 256 with its rounding


class Quantization(NamedTuple):
    """How real values are quantized: q = value / scale + zero_point.

    In uint8 q is rounded; in float32 it is exact and has ROUNDING added.
    """

    scale: float
    zero_point: int = 0

    @classmethod
    def covering(cls, *ranges: Sequence[float]) -> Quantization:
        """The finest quantization that covers all of the ranges, and has an integer for 0."""
        low, high = min(0.0, *(r[0] for r in ranges)), max(0.0, *(r[1] for r in ranges))
        scale = max(high - low, 1e-6) / 255
        return cls(scale, round(-low / scale))

    @property
    def float_zero(self) -> float:
        """The quantized value of 0 in float32."""
        return self.zero_point + ROUNDING


def quantizable(network: nn.Module) -> bool:
    """Whether QuantizedVNet knows networks of this shape."""
    if not fusable(network):
        return False
    assert isinstance(network, VNet)
    config = network.config
    return config.stem > 1 and config.residual and not config.plain_ends and config.join == "concat"


def can_quantize(network: nn.Module, ranges: ActivationRanges | None) -> bool:
    """Whether the network is `quantizable`, none of its activation ranges is missing, and PyTorch has the operator."""
    if ranges is None or not quantizable(network) or not hasattr(torch.ops.onednn, "qconv3d_pointwise"):
        return False
    assert isinstance(network, VNet)
    return _quantized_modules(network.config) <= ranges.keys()


def calibrate(network: nn.Module, images: Iterable[Tensor]) -> dict[str, tuple[float, float]]:
    """The activation ranges of a network: lowest and highest value of each feature map that is quantized.

    Args:
        network: in any state; it is left in evaluation mode.
        images: (B, 1, I, J, K) scaled as for inference and typical of it. Activations beyond theirs will be clipped.

    Returns:
        (lowest, highest) by the name of the module that gives the feature map; empty for a network that is not
        `quantizable`.
    """
    if not quantizable(network):
        return {}
    assert isinstance(network, VNet)
    ranges: dict[str, tuple[float, float]] = {}

    def observe(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            low, high = (float(end) for end in torch.aminmax(output))
            lowest, highest = ranges.get(name, (0.0, 0.0))
            ranges[name] = min(low, lowest), max(high, highest)

        return hook

    with ExitStack() as hooks, torch.inference_mode():
        for name in _quantized_modules(network.config):
            hooks.callback(network.get_submodule(name).register_forward_hook(observe(name)).remove)
        network.eval()
        for image in images:
            network(image)
    return {name: (round(low, 4), round(high, 4)) for name, (low, high) in sorted(ranges.items())}


def _quantized_modules(config: VNetConfig) -> set[str]:
    """Modules whose output is quantized: stem, skip connections, downs, ups, and each activation but a stage's last."""
    last = len(config.widths) - 1
    outer = {f"{kind}.{n}" for kind in ("encoder", "downs", "ups") for n in range(last)}
    depths = {"encoder": config.depths, "decoder": config.depths[-2::-1]}
    inner = {f"{side}.{n}.activations.{i}" for side in depths for n, d in enumerate(depths[side]) for i in range(d - 1)}
    return {"stem"} | outer | inner


class QuantizedVNet:
    """A `quantizable` VNet for inference in int8.

    Args:
        network: in evaluation mode, in float32.
        ranges: as `calibrate` gives them.
        size: (I, J, K) of the tiles to come, for which weights are laid out; others are only slower.
        order: channels in the order of the output; the network's own when None.

    Raises:
        KeyError: a range is missing.
    """

    def __init__(
        self, network: VNet, ranges: ActivationRanges, size: Sequence[int], order: Sequence[int] | None = None
    ) -> None:
        config = network.config
        last = len(config.widths) - 1
        sizes = stage_sizes(config, size)
        # A skip connection and what it is concatenated with share their quantization.
        skips = [Quantization.covering(ranges[f"encoder.{n}"], ranges[f"ups.{last - 1 - n}"]) for n in range(last)]
        downs = [down.layers[0] for down in network.downs if isinstance(down, Down)]
        stem = Quantization.covering(ranges["stem"])
        self.stem = _requantizing(network.stem, size, None, stem)
        self.encoder, self.downs = [], []
        source = stem
        for n, stage in enumerate(network.encoder):
            assert isinstance(stage, Stage)
            target = skips[n] if n < last else None
            self.encoder.append(EncoderStage(stage, f"encoder.{n}", ranges, sizes[n], source, target))
            if n < last:
                source = Quantization.covering(ranges[f"downs.{n}"])
                self.downs.append(_requantizing(downs[n], sizes[n], skips[n], source))
        self.ups, self.decoder = [], []
        for n, (up, stage) in enumerate(zip(network.ups, network.decoder, strict=True)):
            assert isinstance(stage, Stage)
            source, shape = skips[last - 1 - n], sizes[last - 1 - n]
            self.ups.append(_requantizing(up, sizes[last - n], None, source))
            self.decoder.append(DecoderStage(stage, f"decoder.{n}", ranges, shape, source))
        self.head = Head(network.head, torch.float32, config.classes, order)

    def __call__(self, image: Tensor, finish: Finish = lambda logits: logits) -> Tensor:
        """(1, 1, I, J, K) image -> (D, I, J, K) float16: what `finish` makes of the logits, as in FusedVNet."""
        return run_heads([self.head], [self.features(image)], finish)

    def features(self, image: Tensor) -> Tensor:
        """(1, 1, I, J, K) image -> (1, inputs, i, j, k) float32: what the head takes."""
        convolve, activation = self.stem
        x = convolve(image.contiguous(memory_format=CHANNELS_LAST), activation)
        skips = []
        for stage, (down, activation) in zip(self.encoder[:-1], self.downs, strict=True):
            y = stage(x)
            skips.append(_to_uint8(y))
            x = down(y, activation)
        x = self.encoder[-1](x)
        for (up, activation), decode in zip(self.ups, self.decoder, strict=True):
            both = [part.permute(0, 2, 3, 4, 1) for part in (skips.pop(), _to_uint8(up(x, activation)))]
            x = decode(torch.cat(both, dim=4).permute(0, 4, 1, 2, 3))
        return x


class EncoderStage:
    """A stage of the encoder: quantized convolutions, then its input added and ReLU.

    Takes float32 quantized by `source`, gives float32 quantized by `target`, or real values where that is None.
    """

    def __init__(
        self,
        stage: Stage,
        name: str,
        ranges: ActivationRanges,
        size: Sequence[int],
        source: Quantization,
        target: Quantization | None,
    ) -> None:
        scale, self.zero = (target.scale, target.float_zero) if target else (1.0, 0.0)
        self.residual_gain = source.scale / scale
        # The residual is added with its own zero; the last convolution's offset takes it off, and adds the target's.
        offset = self.zero - self.residual_gain * source.float_zero
        self.convolutions = _quantize_stage(stage, name, ranges, size, source, scale, offset)

    def __call__(self, x: Tensor) -> Tensor:
        y = _to_uint8(x)
        for convolution in self.convolutions:
            y = convolution(y)
        return y.add_(x, alpha=self.residual_gain).clamp_(self.zero, QUANTIZED_MAX if self.zero else None)


class DecoderStage:
    """A stage of the decoder: quantized convolutions, then its projected input added and ReLU.

    Takes uint8 quantized by `source`, gives real values in float32.
    """

    def __init__(
        self, stage: Stage, name: str, ranges: ActivationRanges, size: Sequence[int], source: Quantization
    ) -> None:
        self.convolutions = _quantize_stage(stage, name, ranges, size, source, 1.0, 0.0)
        self.shortcut = QuantizedConvolution(stage.shortcut, None, size, source)

    def __call__(self, x: Tensor) -> Tensor:
        y = x
        for convolution in self.convolutions:
            y = convolution(y)
        return y.add_(self.shortcut(x)).relu_()


def _quantize_stage(
    stage: Stage,
    name: str,
    ranges: ActivationRanges,
    size: Sequence[int],
    source: Quantization,
    scale: float,
    offset: float,
) -> list[QuantizedConvolution]:
    """A stage's convolutions from uint8 to uint8, the last to float32 with that scale and offset."""
    convolutions = []
    for n, (convolution, norm) in enumerate(zip(stage.convolutions, stage.norms, strict=True)):
        if n == len(stage.convolutions) - 1:
            convolutions.append(QuantizedConvolution(convolution, norm, size, source, scale, offset))
        else:
            target = Quantization.covering(ranges[f"{name}.activations.{n}"])
            convolutions.append(QuantizedConvolution(convolution, norm, size, source, target=target))
            source = target
    return convolutions


class QuantizedConvolution:
    """One convolution of uint8 by int8, its norm folded in, with a scale per output channel.

    source: quantization of the input. target: quantization of a uint8 output, with ReLU; when None the output is
    float32, its real value divided by `scale`, plus `offset`.
    """

    def __init__(
        self,
        layer: nn.Module,
        norm: nn.Module | None,
        size: Sequence[int],
        source: Quantization,
        scale: float = 1.0,
        offset: float = 0.0,
        target: Quantization | None = None,
    ) -> None:
        assert isinstance(layer, nn.Conv3d)
        self.ops: Any = torch.ops.onednn
        weight, bias = fold_norm(layer, norm)
        scales = weight.abs().amax(dim=(1, 2, 3, 4)).clamp(min=1e-12) / 127
        integers = (weight / scales.view(-1, 1, 1, 1, 1)).round().to(torch.int8)
        self.geometry = (list(layer.stride), [int(p) for p in layer.padding], [1, 1, 1], 1)  # dilation, groups
        # For the layout of the weights the input's zero point (here 1) counts only as 0 or not.
        self.weight = self.ops.qconv_prepack(integers, scales, 1.0, 1, *self.geometry, [1, layer.in_channels, *size])
        self.source, self.scales, self.bias = source, scales / scale, bias / scale + offset
        self.zero_points = torch.zeros(len(weight), dtype=torch.int32)  # of the weights
        self.output = (1.0, 0, torch.float32) if target is None else (*target, torch.uint8)  # scale, zero point, dtype

    def __call__(self, x: Tensor) -> Tensor:
        """uint8 (1, inputs, I, J, K) -> (1, outputs, I, J, K), uint8 or float32."""
        weight = (self.weight, self.scales, self.zero_points, self.bias)
        y: Tensor = self.ops.qconv3d_pointwise(x, *self.source, *weight, *self.geometry, *self.output, "none", [], None)
        return y


def _requantizing(
    layer: nn.Module, size: Sequence[int], source: Quantization | None, target: Quantization
) -> tuple[PackedConvolution, Activation]:
    """A float32 convolution from one quantization, None for real values, to another, and the clipping that follows.

    The clipping is ReLU where `target` has no values below 0. A transposed convolution takes real values only.
    """

    def requantize(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        scale, zero = (1.0, 0.0) if source is None else (source.scale, source.float_zero)
        weight = weight * (scale / target.scale)
        zero_sum = zero * weight.flatten(1).sum(dim=1) if zero else 0.0  # what an input of 0 everywhere would give
        return weight, bias / target.scale + target.float_zero - zero_sum

    lowest = ROUNDING if target.zero_point == 0 else 0.0
    packed = PackedConvolution(layer, None, torch.float32, size, requantize)
    return packed, ("hardtanh", [lowest, QUANTIZED_MAX])


def _to_uint8(x: Tensor) -> Tensor:
    """Quantized float32 as uint8: (1, C, I, J, K), channels last in memory."""
    return x.permute(0, 2, 3, 4, 1).to(torch.uint8).permute(0, 4, 1, 2, 3)
