"""Summaries of the recipes, a line each, for help that must not import PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SUMMARIES: Mapping[str, str] = MappingProxyType(
    {
        "default": "V-Net with a stem, four organs, light enough for a CPU",
        "organs": "the bundled weights' V-Net: 12 organs and liver tumours",
        "vnet-softmax": "V-Net on whole scans of 128 x 128 x 64, cross-entropy",
        "vnet-dice": "V-Net, Dice, patches mirrored, rotated and scaled",
        "vnet-dice-focal": "V-Net, Dice and focal loss, kidneys as one",
        "vnet-paper": "V-Net as published, on whole scans of 128 x 128 x 64",
        "unetplusplus": "UNet++ on slices, ResNet-34 encoder",
        "manet": "MAnet on slices, ResNet-34 encoder",
        "deeplabv3plus": "DeepLabV3+ on slices, ResNet-34 encoder",
    }
)


def listing() -> str:
    """The recipes and their summaries, a line each, in columns."""
    width = max(map(len, SUMMARIES))
    return "\n".join(f"  {name:{width}}  {summary}" for name, summary in SUMMARIES.items())
