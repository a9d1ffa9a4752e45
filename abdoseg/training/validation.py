"""Validation: predictions for whole scans on the network's grid, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from abdoseg.model.device import fastest_float, to_device
from abdoseg.model.weights import build_network
from abdoseg.training.augment.sampler import apply_window, channel_table, is_annotated
from abdoseg.training.augment.transforms import AIR_HU
from abdoseg.training.data.cache import Cache, PreparedCase
from abdoseg.training.recipes import TrainingConfig

SLAB_VOXELS = 24_000_000  # at a time; more would not fit 8 GB
MARGIN = 32  # voxels of overlap of the slabs, on each side


@dataclass(frozen=True, eq=False)
class CaseScore:
    """Scores of one validation case.

    Attributes:
        dice: by organ, those that are annotated and there.
        accuracy: fraction of voxels whose channel is right.
        iou: mean over those organs; iou_at_half: counting only voxels whose probability is at least 0.5.
        predicted: (I, J, K) channels, kept for pictures.
    """

    case: str
    dice: dict[str, float]
    accuracy: float
    iou: float
    iou_at_half: float
    predicted: npt.NDArray[np.uint8] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Prediction:
    """channels: (I, J, K) uint8, each voxel's likeliest. confident: bool, where its probability is at least 0.5."""

    channels: npt.NDArray[np.uint8]
    confident: npt.NDArray[np.bool_]


def validate(
    weights: dict[str, Tensor], config: TrainingConfig, cache: Cache, cases: Sequence[str], device: torch.device
) -> list[CaseScore]:
    """Scores weights on cases of the cache. Deterministic; the order is that of `cases`."""
    network = build_network(config.plan().network)
    network.load_state_dict(weights)
    network = to_device(network, device).eval()
    return [score_case(predict(network, cache.by_name[case], config, device), cache.by_name[case], config)
            for case in cases]  # fmt: skip


def predict(network: nn.Module, prepared: PreparedCase, config: TrainingConfig, device: torch.device) -> Prediction:
    """The likeliest channel of each voxel; long scans in slabs that overlap."""
    image = apply_window(torch.from_numpy(np.array(prepared.array("image"), dtype=np.float32)), config)
    depth = max(4 * MARGIN, SLAB_VOXELS // (image.shape[0] * image.shape[1]) // MARGIN * MARGIN)
    parts = []
    for start in range(0, image.shape[2], depth):
        low, high = max(0, start - MARGIN), min(image.shape[2], start + depth + MARGIN)
        both = _likeliest(network, image[:, :, low:high], config, device)
        parts.append(both[..., start - low : min(start + depth, image.shape[2]) - low])
    channels, confident = np.concatenate(parts, axis=3)
    return Prediction(channels, confident.astype(bool))


def _likeliest(
    network: nn.Module, image: Tensor, config: TrainingConfig, device: torch.device
) -> npt.NDArray[np.uint8]:
    """(2, I, J, K) each voxel's likeliest channel, and whether its probability is at least 0.5."""
    outside = float(apply_window(torch.tensor(AIR_HU), config))
    axes = zip(image.shape, network.multiples, strict=True)  # type: ignore[arg-type]
    pads = [extra for n, multiple in [*axes][::-1] for extra in (0, -n % multiple)]
    padded = F.pad(image, pads, value=outside)[None, None]
    dtype = fastest_float(device)
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logits = network(padded.to(device, memory_format=torch.channels_last_3d))  # (1, C, I, J, K)
    i, j, k = image.shape
    both = torch.empty((2, i, j, k), dtype=torch.uint8, device=device)
    for row, part in zip(both.unbind(dim=1), logits[0, :, :i, :j, :k].unbind(dim=1), strict=True):  # memory stays flat
        p, channel = part.float().softmax(dim=0).max(dim=0)  # (J, K)
        row[0], row[1] = channel, p >= 0.5
    return np.asarray(both.cpu().numpy())


def score_case(predicted: Prediction, prepared: PreparedCase, config: TrainingConfig) -> CaseScore:
    """Compares a prediction with the case's labels, organs that are annotated and there."""
    truth = channel_table(config.organs)[prepared.array("labels")]
    classes = len(config.organs) + 1
    pairs = (predicted.confident * np.int64(classes) + truth) * classes + predicted.channels
    rest, confident = np.bincount(pairs.ravel(), minlength=2 * classes**2).reshape(2, classes, classes)
    table = rest + confident  # (truth, prediction)
    dice, iou, iou_at_half = {}, [], []
    for channel, organ in enumerate(config.organs, start=1):
        there = table[channel].sum()
        if is_annotated(prepared, organ) and there > 0:
            both, either = table[channel, channel], there + table[:, channel].sum()
            dice[organ] = float(2 * both / either)
            iou.append(float(both / (either - both)))
            both, either = confident[channel, channel], there + confident[:, channel].sum()
            iou_at_half.append(float(both / (either - both)))
    accuracy = float(np.trace(table) / table.sum())
    return CaseScore(
        case=prepared.case,
        dice=dice,
        accuracy=accuracy,
        iou=mean_of(iou),
        iou_at_half=mean_of(iou_at_half),
        predicted=predicted.channels,
    )


def mean_of(values: Sequence[float]) -> float:
    """The mean; NaN of none."""
    return float(np.mean(values)) if values else float("nan")


def mean_dice(scores: Sequence[CaseScore]) -> dict[str, float]:
    """By organ, the mean over the cases that have it."""
    organs = dict.fromkeys(organ for score in scores for organ in score.dice)
    return {organ: float(np.mean([s.dice[organ] for s in scores if organ in s.dice])) for organ in organs}
