"""Which patch comes next: a pure function of seed and step, so that a resumed run sees what it would have seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from abdoseg.anatomy.organs import BY_NAME, MIRRORED
from abdoseg.errors import DatasetError
from abdoseg.model.plan import members
from abdoseg.training.augment import transforms
from abdoseg.training.augment.rng import CPU, Draws, sent
from abdoseg.training.augment.synthesis import paint
from abdoseg.training.data.cache import Cache, Packed
from abdoseg.training.recipes import TrainingConfig

KEPT = 4000  # voxels an organ and case, from which patch centres are drawn
SEEDS_APART = 1_000_000_007


@dataclass(frozen=True, eq=False)
class Batch:
    """image (B, 1, I, J, K) float32 scaled, target (B, I, J, K) int64 channels, annotated (B, C) bool."""

    image: Tensor
    target: Tensor
    annotated: Tensor

    def used_by(self, stream: torch.cuda.Stream) -> None:
        """Keeps the GPU's memory from being drawn into again before this other stream has done with the batch."""
        for tensor in (self.image, self.target, self.annotated):
            tensor.record_stream(stream)


class Sampler:
    """Draws training batches from a cache. Stateless between calls: `batch(step)` depends on nothing else.

    weights: how often a case is drawn, 1 unless named. rank, processes: which part of a larger batch is drawn here,
    so that N processes see what one with N times the batch would. device: where patches are drawn, and batches lie;
    of a case only the box that a patch needs goes there.
    """

    def __init__(
        self,
        cache: Cache,
        cases: Sequence[str],
        config: TrainingConfig,
        weights: Mapping[str, float] | None = None,
        rank: int = 0,
        processes: int = 1,
        device: torch.device = CPU,
    ) -> None:
        self.config, self.rank, self.processes, self.device = config, rank, processes, device
        self.cases: list[Packed] = [packed for packed in cache.cases if packed.case in set(cases)]
        if not self.cases:
            raise DatasetError("no case is left to train on; give more data or a smaller --val")
        channels = torch.from_numpy(channel_table(config.organs)).long()
        self.channels = (channels.to(device), mirror_table(config.organs)[channels].to(device))  # mirrored or not
        self.centres = [self._centres(packed) for packed in self.cases] if config.spacing_mm else []
        self.weights = torch.tensor([(weights or {}).get(packed.case, 1.0) for packed in self.cases])

    def _centres(self, packed: Packed) -> dict[int, npt.NDArray[np.int32]]:
        """By channel, up to KEPT voxels (N, 3) of each organ of a case, evenly spread over it."""
        labels = channel_table(self.config.organs)[packed.array("labels")]
        found = {}
        for channel in np.unique(labels):
            where = np.flatnonzero(labels == channel)
            kept = where[:: max(1, len(where) // KEPT)]
            found[int(channel)] = np.stack(np.unravel_index(kept, labels.shape), axis=1).astype(np.int32)
        found.pop(0, None)
        return found

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0. Raises DatasetError when the cache has gone."""
        first = (step * self.processes + self.rank) * self.config.batch
        try:
            samples = [self._sample(first + n) for n in range(self.config.batch)]
        except (OSError, ValueError) as error:
            raise DatasetError(f"the cache cannot be read any more ({error}); --resume packs it again") from error
        images, targets, annotated = zip(*samples, strict=True)
        return Batch(torch.stack(images)[:, None], torch.stack(targets), torch.stack(annotated))

    def _sample(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        config, how = self.config, self.config.augmentation
        zoom, patch = config.seen_at(number // (config.batch * self.processes))
        draws = Draws(config.seed * SEEDS_APART + number, self.device)
        index = self._case(number, draws)
        packed = self.cases[index]
        centre = self._centre(index, draws)
        coordinates, mirrored = transforms.draw_coordinates(centre, patch, packed.spacing_mm, how, draws, zoom)
        region = transforms.Region.around(coordinates, packed.shape)
        labels = region.take(packed.array("labels"), 0, nearest=True).to(torch.uint8)
        image = self._image(packed, region, labels, zoom, draws)
        if how.cut > 0 and draws.chance(how.cut):
            image, labels = transforms.cut_field(image, labels, draws)
        target = self.channels[mirrored].take(labels.long())
        annotated = torch.tensor([False, *(is_annotated(packed, organ) for organ in config.organs)])
        return scale(image, config), target, sent(annotated, self.device)

    def _case(self, number: int, draws: Draws) -> int:
        """Which case: by weight; or, when an epoch is each case once, the next of that epoch's shuffled order."""
        if self.config.epoch_steps:
            return draws.weighted(self.weights)
        epoch, place = divmod(number, len(self.cases))
        return Draws(self.config.seed * SEEDS_APART + epoch).order(len(self.cases))[place]

    def _centre(self, index: int, draws: Draws) -> list[float]:
        """A voxel of an organ, more often an output organ, or a place in the middle of the cross-section."""
        packed, config = self.cases[index], self.config
        if config.spacing_mm is None:  # the whole scan
            return [(n - 1) / 2 for n in packed.shape]
        centres = self.centres[index]
        if centres and draws.chance(config.foreground):
            output = sorted({config.organs.index(organ) + 1 for organ in config.output_organs} & set(centres))
            channels = output if output and draws.chance(0.7) else sorted(centres)
            voxels = centres[channels[draws.below(len(channels))]]
            voxel = voxels[draws.below(len(voxels))].astype(float)
            jitter = [draws.uniform(-0.25, 0.25) * n for n in config.patch]
            return [float(v) + j for v, j in zip(voxel, jitter, strict=True)]
        share = [draws.uniform(low, 1 - low) for low in (0.25, 0.25, 0.0)]
        return [s * n for s, n in zip(share, packed.shape, strict=True)]

    def _image(self, packed: Packed, region: transforms.Region, labels: Tensor, zoom: float, draws: Draws) -> Tensor:
        """(I, J, K) HU: the scan's own, changed; or synthesised from the case's tissues."""
        config, how = self.config, self.config.augmentation
        spacing_mm = tuple(zoom * s for s in packed.spacing_mm)
        synthetic = "tissues" in packed.digests and draws.chance(config.synthetic)
        if synthetic or not packed.has_image:
            tissues = region.take(packed.array("tissues"), 0, nearest=True)
            return paint(tissues.to(torch.uint8), spacing_mm, draws)
        image = region.take(packed.array("image"), transforms.AIR_HU)
        return transforms.change_hu(image, labels, spacing_mm, how, draws)


def scale(image: Tensor, config: TrainingConfig) -> Tensor:
    """HU to what the network sees: clipped to the window, scaled onto `scaled_to`."""
    low, high = config.window_hu
    a, b = config.scaled_to
    return (image.clamp(low, high) - low) / (high - low) * (b - a) + a


def is_annotated(packed: Packed, organ: str) -> bool:
    """Whether the annotator looked for an organ, or for every organ of a group."""
    return set(members(organ)) <= set(packed.annotated)


def channel_table(organs: Sequence[str]) -> npt.NDArray[np.uint8]:
    """(256,) our label -> the network's channel; labels that the network does not learn are background.

    A liver tumour is liver unless the network tells it apart.
    """
    table = np.zeros(256, np.uint8)
    for channel, organ in enumerate(organs, start=1):
        for name in members(organ):
            table[BY_NAME[name].label] = channel
    if "liver_tumour" not in organs and "liver" in organs:
        table[BY_NAME["liver_tumour"].label] = table[BY_NAME["liver"].label]
    return table


def mirror_table(organs: Sequence[str]) -> Tensor:
    """(C,) channel -> the channel of the organ on the other side; an organ whose twin is not learnt stays itself."""
    twins = [MIRRORED.get(organ, organ) for organ in organs]
    return torch.tensor([0, *(organs.index(twin if twin in organs else organ) + 1
                              for twin, organ in zip(twins, organs, strict=True))])  # fmt: skip
