"""2-D networks applied slice by slice: UNet++, MAnet and DeepLabV3+ of segmentation_models_pytorch.

Sources: Zhou et al. 2018, "UNet++", doi:10.1007/978-3-030-00889-5_1; Fan et al. 2020, "MA-Net",
doi:10.1109/ACCESS.2020.3025372; Chen et al. 2018, "DeepLabV3+", doi:10.1007/978-3-030-01234-2_49.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar

import torch
from torch import Tensor, nn

from abdoseg.errors import ModelError

ARCHITECTURES = ("unetplusplus", "manet", "deeplabv3plus")
HALVINGS = 5  # of the grid by an encoder, on each axis of a slice


@dataclass(frozen=True)
class SliceNetConfig:
    """The shape of a 2-D network.

    classes: output channels, background included. encoder: a name of segmentation_models_pytorch's, trained from
    scratch. multiples: patches must be multiples of so many voxels on each axis.
    """

    classes: int = 5
    architecture: str = "unetplusplus"
    encoder: str = "resnet34"
    multiples: ClassVar[tuple[int, int, int]] = (2**HALVINGS, 2**HALVINGS, 1)

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"architecture {self.architecture!r} is not one of {', '.join(ARCHITECTURES)}")


class SliceNet(nn.Module):
    """(B, 1, I, J, K) windowed HU -> (B, classes, I, J, K) logits, each slice of K on its own; I, J multiples of 32.

    Nothing is downloaded.

    Raises:
        ModelError: segmentation_models_pytorch is not installed.
    """

    multiples = SliceNetConfig.multiples
    layout = torch.channels_last

    def __init__(self, config: SliceNetConfig) -> None:
        super().__init__()
        try:
            import_module("torch._meta_registrations")  # before timm imports torch._dynamo, which counts on it
            import_module("torch.export")
            from segmentation_models_pytorch import create_model
        except ImportError as error:
            raise ModelError(
                f"{config.architecture}: networks on slices come from segmentation-models-pytorch, which cannot be "
                f"imported ({error}); pip install 'abdoseg[slices]'"
            ) from error
        self.config = config
        made = create_model(
            config.architecture, config.encoder, encoder_weights=None, in_channels=1, classes=config.classes
        )
        self.encoder, self.decoder, self.head = made.encoder, made.decoder, made.segmentation_head

    def forward(self, image: Tensor) -> Tensor:
        batch, _, i, j, k = image.shape
        slices = image[:, 0].permute(0, 3, 1, 2).reshape(batch * k, 1, i, j).contiguous(memory_format=self.layout)
        logits: Tensor = self.head(self.decoder(self.encoder(slices)))  # (B * K, classes, I, J)
        return logits.view(batch, k, -1, i, j).permute(0, 2, 3, 4, 1)
