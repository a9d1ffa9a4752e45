"""A patch before CT synthesis, as diseases see it: its tissue map and labels, and where its organs lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from abdoseg.anatomy.organs import BY_NAME, MAIN
from abdoseg.anatomy.tissues import LUMEN_TIERS, Phase, Tissue
from abdoseg.training.augment.rng import host_to_device
from abdoseg.training.augment.tissue_maps import SCANNED, SCANNED_START_HU, SCANNED_STEP_HU

LIVER, RIGHT, LEFT, SPLEEN = (BY_NAME[organ].label for organ in MAIN)
AORTA, CAVA = (BY_NAME[organ].label for organ in ("aorta", "inferior_vena_cava"))
KIDNEYS = (RIGHT, LEFT)
MAIN_LABELS = (LIVER, SPLEEN, RIGHT, LEFT)
MIN_VOXELS = 200  # of an organ in a patch; what is less is left as it is
WALL_MM = 22.0  # skin, fat and muscle in front of the cavity, where a scan shows what is not labelled
Triple = tuple[float, float, float]


def tissue_table(tissues: Sequence[int]) -> Tensor:
    """(256,) bool: whether a code is one of these tissues."""
    table = torch.zeros(256, dtype=torch.bool)
    table[list(tissues)] = True
    return table


_LUMENS = [lumen + tier for lumen in (Tissue.STOMACH_LUMEN, Tissue.SMALL_BOWEL_LUMEN, Tissue.COLON_LUMEN)
           for tier in range(LUMEN_TIERS)]  # fmt: skip
# What gives way to a cyst or a mass. Vessels, bones, muscles and the body wall stay.
_SOFT = tissue_table([
    Tissue.GAP, Tissue.KIDNEY_SINUS, Tissue.BOWEL_WALL, Tissue.PANCREAS, Tissue.ADRENAL, Tissue.BILE,
    Tissue.GAS, *_LUMENS,
])  # fmt: skip
_SCANNED_FAT, _SCANNED_BONE = (SCANNED + (hu - SCANNED_START_HU) // SCANNED_STEP_HU for hu in (-30, 180))
FAT = tissue_table([Tissue.GAP, *range(SCANNED, _SCANNED_FAT)])
_SCANNED_SOFT = tissue_table(range(_SCANNED_FAT, _SCANNED_BONE))


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A patch before synthesis.

    tissues, labels: (I, J, K) uint8, tissue codes and our numbers, on one device. phase: the contrast phase that shows
    the disease; None for any.
    """

    tissues: Tensor
    labels: Tensor
    spacing_mm: Sequence[float]
    phase: Phase | None = None

    @cached_property
    def on_host(self) -> Tensor:
        """The labels on the host: one transfer from the device, instead of one per question."""
        return self.labels.cpu()

    @property
    def voxel_ml(self) -> float:
        return math.prod(self.spacing_mm) / 1000.0

    def organ(self, label: int) -> Organ | None:
        """Where an organ lies; None if the patch shows less than MIN_VOXELS of it."""
        voxels = (self.on_host == label).nonzero()  # (N, 3)
        return Organ(label, voxels) if len(voxels) >= MIN_VOXELS else None

    def organs(self, labels: Sequence[int]) -> list[Organ]:
        """Those of these organs that the patch shows."""
        return [organ for organ in map(self.organ, labels) if organ is not None]

    @cached_property
    def cavity(self) -> Tensor:
        """(I, J, K) bool: voxels deeper than WALL_MM below the skin."""
        air = (self.tissues == Tissue.AIR).float()
        for axis, step in enumerate(self.spacing_mm):
            reach = round(WALL_MM / step)
            rows = air.movedim(axis, -1)
            air = F.max_pool1d(rows.flatten(0, 1), 2 * reach + 1, 1, reach).view(rows.shape).movedim(-1, axis)
        return air == 0

    @cached_property
    def yielding(self) -> Tensor:
        """(I, J, K) bool: what gives way to a cyst or a mass.

        Where a scan shows what is not labelled, that is fat, and soft tissue in front of the great vessels, where it
        is bowel; behind them, and where a patch shows none of them, it may be muscle.
        """
        soft = self.are(_SOFT) | self.are(FAT)
        vessels = torch.nonzero(((self.on_host == AORTA) | (self.on_host == CAVA)).any(dim=2).any(dim=0))
        if len(vessels):
            in_front = torch.arange(self.labels.shape[1], device=self.labels.device) > float(vessels.double().mean())
            soft = soft | (self.are(_SCANNED_SOFT) & in_front[:, None])
        return soft & self.cavity & ~_is_main(self.labels)

    def are(self, table: Tensor) -> Tensor:
        """(I, J, K) bool: voxels whose tissue a table (256,) holds."""
        return host_to_device(table, self.tissues.device)[self.tissues.long()]

    def filled(self, where: Tensor, tissue: int, label: int = 0) -> Anatomy:
        """With another tissue and label at the voxels of a mask."""
        return replace(
            self, tissues=torch.where(where, tissue, self.tissues).to(torch.uint8),
            labels=torch.where(where, label, self.labels).to(torch.uint8),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Organ:
    """An organ in a patch. voxels: (N, 3) on the host."""

    label: int
    voxels: Tensor

    @property
    def low(self) -> list[int]:
        return [int(v) for v in self.voxels.amin(dim=0)]

    @property
    def high(self) -> list[int]:
        return [int(v) for v in self.voxels.amax(dim=0)]

    def at(self, fractions: Triple) -> Triple:
        """A point of its bounding box, from 0 (left, posterior, inferior) to 1, in voxels."""
        i, j, k = (
            low + fraction * (high - low) for low, high, fraction in zip(self.low, self.high, fractions, strict=True)
        )
        return i, j, k

    def with_sinus(self, anatomy: Anatomy) -> Tensor:
        """(I, J, K) bool: a kidney with the sinus in its bounding box; other organs have none."""
        mask = anatomy.labels == self.label
        box = tuple(slice(low, high + 1) for low, high in zip(self.low, self.high, strict=True))
        mask[box] |= anatomy.tissues[box] == Tissue.KIDNEY_SINUS
        return mask


def _is_main(labels: Tensor) -> Tensor:
    return (labels >= min(MAIN_LABELS)) & (labels <= max(MAIN_LABELS))
