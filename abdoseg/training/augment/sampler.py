"""The patch sampler: training batches as a pure function of seed and step, so that a resumed run draws the same."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from abdoseg.anatomy.organs import BY_NAME, LESIONS, MIRRORED, host_of
from abdoseg.errors import DatasetError
from abdoseg.model.plan import members
from abdoseg.training.augment import transforms
from abdoseg.training.augment.diseases import add_disease
from abdoseg.training.augment.patch_anatomy import Anatomy
from abdoseg.training.augment.rng import CPU, Rng, host_to_device
from abdoseg.training.augment.synthesis import synthesize_ct
from abdoseg.training.augment.tumours import add_tumours
from abdoseg.training.data.cache import Cache, PreparedCase
from abdoseg.training.recipes import TrainingConfig

CENTRES_KEPT = 4000  # voxels an organ and case, from which patch centres are drawn
SEED_STRIDE = 1_000_000_007


@dataclass(frozen=True, eq=False)
class Batch:
    """A training batch.

    image: (B, 1, I, J, K) float32, windowed. target: (B, I, J, K) int64 channels. annotated: (B, C) bool.
    """

    image: Tensor
    target: Tensor
    annotated: Tensor

    def used_by(self, stream: torch.cuda.Stream) -> None:
        """Keeps the GPU's memory from being reused before this other stream has finished with the batch."""
        for tensor in (self.image, self.target, self.annotated):
            tensor.record_stream(stream)


class Sampler:
    """Training batches from prepared cases. `batch(step)` depends on nothing but the arguments given here.

    Args:
        cache: the prepared cases.
        cases: names of those to draw from.
        config: the recipe.
        weights: relative frequency of a case, 1 unless named.
        rank: the part of a larger batch that is made here.
        processes: the number of parts. N processes see the patches that one of N times the batch sees.
        device: where patches are made and batches lie; only the box of a case that holds a patch is sent there.

    Raises:
        DatasetError: none of the cases is in the cache.
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
        self.cases: list[PreparedCase] = [case for case in cache.cases if case.case in set(cases)]
        if not self.cases:
            raise DatasetError("no case is left to train on; give more data or a smaller --val")
        channels = torch.from_numpy(channel_table(config.organs)).long()
        self.channels = (channels.to(device), mirror_table(config.organs)[channels].to(device))  # mirrored or not
        self.centres = [self._centres(case) for case in self.cases] if config.spacing_mm else []
        self.weights = torch.tensor([(weights or {}).get(case.case, 1.0) for case in self.cases])

    def on(self, device: torch.device) -> Sampler:
        """The same sampler, which makes its patches on another device."""
        moved = copy.copy(self)
        plain, mirrored = self.channels
        moved.device, moved.channels = device, (plain.to(device), mirrored.to(device))
        return moved

    def _centres(self, case: PreparedCase) -> dict[int, npt.NDArray[np.int32]]:
        """By channel, up to CENTRES_KEPT voxels (N, 3) of each organ of a case, evenly spread over it."""
        labels = channel_table(self.config.organs)[case.array("labels")]
        found = {}
        for channel in np.unique(labels):
            where = np.flatnonzero(labels == channel)
            kept = where[:: max(1, len(where) // CENTRES_KEPT)]
            found[int(channel)] = np.stack(np.unravel_index(kept, labels.shape), axis=1).astype(np.int32)
        found.pop(0, None)
        return found

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0. Raises DatasetError when the cache has gone."""
        first = (step * self.processes + self.rank) * self.config.batch
        samples = [self._sample(first + n) for n in range(self.config.batch)]
        images, targets, annotated = zip(*samples, strict=True)
        return Batch(torch.stack(images)[:, None], torch.stack(targets), torch.stack(annotated))

    def _sample(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        config, augmentation = self.config, self.config.augmentation
        zoom, patch = config.zoom_and_patch(number // (config.batch * self.processes))
        rng = Rng(config.seed * SEED_STRIDE + number, self.device)
        index = self._case(number, rng)
        case = self.cases[index]
        centre = self._centre(index, rng)
        coordinates, mirrored = transforms.random_coordinates(centre, patch, case.spacing_mm, augmentation, rng, zoom)
        region = transforms.PatchRegion.around(coordinates, case.shape)
        image, labels, unlabelled = self._patch(case, region, zoom, rng)
        if augmentation.cut > 0 and rng.bernoulli(augmentation.cut):
            image, labels = transforms.truncate_field_of_view(image, labels, rng)
        target = self.channels[mirrored].take(labels.long())
        known = [organ not in unlabelled and is_annotated(case, organ) for organ in config.organs]
        return apply_window(image, config), target, host_to_device(torch.tensor([False, *known]), self.device)

    def _case(self, number: int, rng: Rng) -> int:
        """The index of a sample's case: by weight, or the next in the epoch's order if an epoch is each case once."""
        if self.config.epoch_steps:
            return rng.categorical(self.weights)
        epoch, place = divmod(number, len(self.cases))
        return Rng(self.config.seed * SEED_STRIDE + epoch).permutation(len(self.cases))[place]

    def _centre(self, index: int, rng: Rng) -> list[float]:
        """A patch's centre in voxels: near an organ, more often an output organ, or amid the cross-section."""
        case, config = self.cases[index], self.config
        if config.spacing_mm is None:  # the whole scan
            return [(n - 1) / 2 for n in case.shape]
        centres = self.centres[index]
        if centres and rng.bernoulli(config.foreground):
            output = sorted({config.organs.index(organ) + 1 for organ in config.output_organs} & set(centres))
            channels = output if output and rng.bernoulli(0.7) else sorted(centres)
            voxels = centres[channels[rng.integers(len(channels))]]
            voxel = voxels[rng.integers(len(voxels))].astype(float)
            jitter = [rng.uniform(-0.25, 0.25) * n for n in config.patch]
            return [float(v) + j for v, j in zip(voxel, jitter, strict=True)]
        fractions = [rng.uniform(low, 1 - low) for low in (0.25, 0.25, 0.0)]
        return [f * n for f, n in zip(fractions, case.shape, strict=True)]

    def _patch(
        self, case: PreparedCase, region: transforms.PatchRegion, zoom: float, rng: Rng
    ) -> tuple[Tensor, Tensor, Sequence[str]]:
        """HU and labels (I, J, K) of an augmented scan or of a synthetic CT, and organs whose labels are incomplete."""
        config, augmentation = self.config, self.config.augmentation
        spacing_mm = tuple(zoom * s for s in case.spacing_mm)
        labels = region.sample(case.array("labels"), 0, nearest=True).to(torch.uint8)
        synthetic = "tissues" in case.digests and rng.bernoulli(config.synthetic)
        if synthetic or not case.has_image:
            tissues = region.sample(case.array("tissues"), 0, nearest=True).to(torch.uint8)
            for lesion in LESIONS:  # synthesis adds others, so all of them count as their organ
                labels = torch.where(labels == BY_NAME[lesion].label, BY_NAME[host_of(lesion)].label, labels)
            anatomy = Anatomy(tissues, labels, spacing_mm)
            if config.diseases > 0 and rng.bernoulli(config.diseases):
                anatomy = add_disease(anatomy, rng)
            return synthesize_ct(anatomy.tissues, spacing_mm, rng, anatomy.phase), anatomy.labels, LESIONS
        image = region.sample(case.array("image"), transforms.AIR_HU)
        if config.tumours > 0 and has_healthy_liver(case) and rng.bernoulli(config.tumours):
            image, labels = add_tumours(image, labels, spacing_mm, rng)
            augmentation = replace(augmentation, organ_hu=0.0)  # a change of phase would hide them
        return transforms.augment_hu(image, labels, spacing_mm, augmentation, rng), labels, ()


def apply_window(image: Tensor, config: TrainingConfig) -> Tensor:
    """HU as network input: clipped to the window, scaled to `scaled_to`."""
    low, high = config.window_hu
    a, b = config.scaled_to
    return (image.clamp(low, high) - low) / (high - low) * (b - a) + a


def is_annotated(case: PreparedCase, organ: str) -> bool:
    """Whether an organ, or every organ of a group, was annotated in a case."""
    return set(members(organ)) <= set(case.annotated)


def has_healthy_liver(case: PreparedCase) -> bool:
    """Whether the liver was searched for tumours and none was found."""
    return {"liver", "liver_tumour"} <= set(case.annotated) and "liver_tumour" not in case.facts.get("organ_ml", {})


def channel_table(organs: Sequence[str]) -> npt.NDArray[np.uint8]:
    """(256,) our label -> the network's channel; labels of organs that it does not learn are background.

    A liver tumour is liver unless it has a channel of its own.
    """
    table = np.zeros(256, np.uint8)
    for channel, organ in enumerate(organs, start=1):
        for name in members(organ):
            table[BY_NAME[name].label] = channel
    if "liver_tumour" not in organs and "liver" in organs:
        table[BY_NAME["liver_tumour"].label] = table[BY_NAME["liver"].label]
    return table


def mirror_table(organs: Sequence[str]) -> Tensor:
    """(C,) channel -> the channel of the organ on the other side, or itself if that organ is not learnt."""
    twins = [MIRRORED.get(organ, organ) for organ in organs]
    return torch.tensor([0, *(organs.index(twin if twin in organs else organ) + 1
                              for twin, organ in zip(twins, organs, strict=True))])  # fmt: skip
