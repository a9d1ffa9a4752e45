"""Which patch comes next: a pure function of seed and step, so that a resumed run sees what it would have seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from abdoseg.anatomy import BY_NAME, MIRRORED, ORGANS
from abdoseg.errors import DatasetError
from abdoseg.training import augment
from abdoseg.training.cache import Cache, Packed
from abdoseg.training.recipes import TrainingConfig

KEPT = 4000  # voxels an organ and case, from which patch centres are drawn


@dataclass(frozen=True, eq=False)
class Batch:
    """image (B, 1, I, J, K) float32 scaled, target (B, I, J, K) int64 channels, annotated (B, C) bool."""

    image: Tensor
    target: Tensor
    annotated: Tensor


class Sampler:
    """Draws training batches from a cache. Stateless between calls: `batch(step)` depends on nothing else.

    weights: how often a case is drawn, 1 unless named.
    """

    def __init__(
        self, cache: Cache, cases: Sequence[str], config: TrainingConfig, weights: Mapping[str, float] | None = None
    ) -> None:
        self.cache, self.config = cache, config
        self.cases: list[Packed] = [packed for packed in cache.cases if packed.case in set(cases)]
        if not self.cases:
            raise DatasetError("no case is left to train on; give more data or a smaller --val")
        self.channels = channel_table(config.organs)
        self.centres = [self._centres(packed) for packed in self.cases]
        self.weights = torch.tensor([(weights or {}).get(packed.case, 1.0) for packed in self.cases])

    def _centres(self, packed: Packed) -> dict[int, npt.NDArray[np.int32]]:
        """By channel, up to KEPT voxels (N, 3) of each organ of a case, evenly spread over it."""
        labels = self.channels[np.asarray(self.cache.array(packed.case, "labels"))]
        found = {}
        for channel in np.unique(labels):
            where = np.flatnonzero(labels == channel)
            kept = where[:: max(1, len(where) // KEPT)]
            found[int(channel)] = np.stack(np.unravel_index(kept, labels.shape), axis=1).astype(np.int32)
        found.pop(0, None)
        return found

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        config = self.config
        samples = [self._sample(step * config.batch + n) for n in range(config.batch)]
        images, targets, annotated = zip(*samples, strict=True)
        return Batch(torch.stack(images)[:, None], torch.stack(targets), torch.stack(annotated))

    def _sample(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        config, how = self.config, self.config.augmentation
        generator = Generator().manual_seed(config.seed * 1_000_000_007 + number)
        index = int(torch.multinomial(self.weights, 1, generator=generator))
        packed = self.cases[index]
        centre = self._centre(index, generator)
        coordinates = augment.draw_coordinates(centre, config.patch, config.spacing_mm, how, generator)
        mirrored = bool(coordinates[0, -1, 0, 0] < coordinates[0, 0, 0, 0])
        region = augment.Region.around(coordinates, packed.shape)
        labels = region.take(self.cache.array(packed.case, "labels"), 0, nearest=True).to(torch.uint8)
        image = self._image(packed, region, labels, generator)
        if how.cut > 0 and augment.chance(generator, how.cut):
            image, labels = augment.cut_field(image, labels, generator)
        target = torch.from_numpy(self.channels)[labels.long()].long()
        if mirrored:
            target = mirror_table(config.organs)[target]
        low, high = config.window_hu
        a, b = config.scaled_to
        scaled = (image.clamp(low, high) - low) / (high - low) * (b - a) + a
        annotated = torch.tensor([False, *(organ in packed.annotated for organ in config.organs)])
        return scaled, target, annotated

    def _centre(self, index: int, generator: Generator) -> list[float]:
        """A voxel of an organ, more often one that is delivered, or a place in the middle of the cross-section."""
        centres, packed, config = self.centres[index], self.cases[index], self.config
        if centres and augment.chance(generator, config.foreground):
            delivered = sorted({config.organs.index(organ) + 1 for organ in config.delivered} & set(centres))
            channels = delivered if delivered and augment.chance(generator, 0.7) else sorted(centres)
            voxels = centres[channels[int(torch.randint(len(channels), (), generator=generator))]]
            voxel = voxels[int(torch.randint(len(voxels), (), generator=generator))].astype(float)
            jitter = [augment.uniform(generator, -0.25, 0.25) * n for n in config.patch]
            return [float(v) + j for v, j in zip(voxel, jitter, strict=True)]
        share = [augment.uniform(generator, low, 1 - low) for low in (0.25, 0.25, 0.0)]
        return [s * n for s, n in zip(share, packed.shape, strict=True)]

    def _image(self, packed: Packed, region: augment.Region, labels: Tensor, generator: Generator) -> Tensor:
        """(I, J, K) HU: the scan's own, changed; or painted from the case's tissues."""
        config, how = self.config, self.config.augmentation
        painted = "tissues" in packed.digests and augment.chance(generator, config.painted)
        if painted or "image" not in packed.digests:
            tissues = region.take(self.cache.array(packed.case, "tissues"), 0, nearest=True)
            from abdoseg.training.painting import paint

            return paint(tissues.to(torch.uint8), generator, config.spacing_mm)
        image = region.take(self.cache.array(packed.case, "image"), augment.AIR_HU)
        return augment.change_hu(image, labels, config.spacing_mm, how, generator)


def channel_table(organs: Sequence[str]) -> npt.NDArray[np.uint8]:
    """(256,) our label -> the network's channel; labels that the network does not learn are background.

    A liver tumour is liver unless the network tells it apart.
    """
    table = np.zeros(256, np.uint8)
    for channel, organ in enumerate(organs, start=1):
        table[BY_NAME[organ].label] = channel
    if "liver_tumour" not in organs and "liver" in organs:
        table[BY_NAME["liver_tumour"].label] = table[BY_NAME["liver"].label]
    return table


def mirror_table(organs: Sequence[str]) -> Tensor:
    """(C,) channel -> the channel of the organ on the other side."""
    known = {organ.name for organ in ORGANS}
    assert set(organs) <= known
    order = [organs.index(MIRRORED.get(organ, organ)) + 1 for organ in organs]
    return torch.tensor([0, *order])
