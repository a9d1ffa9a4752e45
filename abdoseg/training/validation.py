"""Validation: predictions for whole scans on the network's grid, and their scores."""

from __future__ import annotations

import math
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
from abdoseg.training.losses import mixed_loss, owners_of
from abdoseg.training.pixel_metrics import PixelMetrics, pixel_metrics
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
        loss: the recipe's.
        confusion: (C, C) voxels by true and predicted channel, unannotated channels counted as what they belong to.
    """

    case: str
    dice: dict[str, float]
    accuracy: float
    iou: float
    iou_at_half: float
    predicted: npt.NDArray[np.uint8] = field(repr=False)
    loss: float = math.nan
    confusion: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64), repr=False)


@dataclass(frozen=True, eq=False)
class Prediction:
    """A network's answer for a whole scan.

    channels: (I, J, K) uint8, each voxel's likeliest. confident: bool, where its probability is at least 0.5.
    loss: the recipe's, NaN unless asked for; of a long scan the mean over its slabs.
    """

    channels: npt.NDArray[np.uint8]
    confident: npt.NDArray[np.bool_]
    loss: float = math.nan


def validate(
    weights: dict[str, Tensor], config: TrainingConfig, cache: Cache, cases: Sequence[str], device: torch.device
) -> list[CaseScore]:
    """Scores weights on cases of the cache. Deterministic; the order is that of `cases`."""
    network = build_network(config.plan().network)
    network.load_state_dict(weights)
    network = to_device(network, device).eval()
    scores = []
    for case in cases:
        prepared = cache.by_name[case]
        scores.append(score_case(predict(network, prepared, config, device, with_loss=True), prepared, config))
    return scores


def predict(
    network: nn.Module,
    prepared: PreparedCase,
    config: TrainingConfig,
    device: torch.device,
    *,
    with_loss: bool = False,
) -> Prediction:
    """The likeliest channel of each voxel; long scans in slabs that overlap."""
    truth = torch.from_numpy(channel_table(config.organs)[prepared.array("labels")]).long() if with_loss else None
    image = apply_window(torch.from_numpy(np.array(prepared.array("image"), dtype=np.float32)), config)
    depth = max(4 * MARGIN, SLAB_VOXELS // (image.shape[0] * image.shape[1]) // MARGIN * MARGIN)
    parts, losses = [], []
    for start in range(0, image.shape[2], depth):
        low, high = max(0, start - MARGIN), min(image.shape[2], start + depth + MARGIN)
        logits = _logits(network, image[:, :, low:high], config, device)
        if truth is not None:
            losses.append(_loss(logits, truth[:, :, low:high], prepared, config))
        both = _likeliest(logits[0])
        parts.append(both[..., start - low : min(start + depth, image.shape[2]) - low])
    channels, confident = np.concatenate(parts, axis=3)
    return Prediction(channels, confident.astype(bool), mean_of(losses))


def _logits(network: nn.Module, image: Tensor, config: TrainingConfig, device: torch.device) -> Tensor:
    """(1, C, I, J, K) of an image (I, J, K) of any size."""
    outside = float(apply_window(torch.tensor(AIR_HU), config))
    axes = zip(image.shape, network.multiples, strict=True)  # type: ignore[arg-type]
    pads = [extra for n, multiple in [*axes][::-1] for extra in (0, -n % multiple)]
    padded = F.pad(image, pads, value=outside)[None, None]
    dtype = fastest_float(device)
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logits = network(padded.to(device, memory_format=torch.channels_last_3d))  # (1, C, I, J, K)
    i, j, k = image.shape
    inside: Tensor = logits[:, :, :i, :j, :k]
    return inside


def _annotated(prepared: PreparedCase, config: TrainingConfig) -> Tensor:
    """(1, C) bool, the background False, as the loss takes it."""
    return torch.tensor([[False, *(is_annotated(prepared, organ) for organ in config.organs)]])


def _loss(logits: Tensor, truth: Tensor, prepared: PreparedCase, config: TrainingConfig) -> float:
    annotated = _annotated(prepared, config).to(logits.device)
    weights = config.loss_weights, config.dice_weights, config.hosts
    with torch.inference_mode():
        return float(mixed_loss(logits.float(), truth[None].to(logits.device), annotated, *weights))


def _likeliest(logits: Tensor) -> npt.NDArray[np.uint8]:
    """(2, I, J, K) each voxel's likeliest channel, and whether its probability is at least 0.5."""
    both = torch.empty((2, *logits.shape[1:]), dtype=torch.uint8, device=logits.device)
    for row, part in zip(both.unbind(dim=1), logits.unbind(dim=1), strict=True):  # memory stays flat
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
    (owners,) = owners_of(_annotated(prepared, config), config.hosts)
    confusion = np.zeros_like(table)
    np.add.at(confusion, np.ix_(owners, owners), table)
    return CaseScore(
        case=prepared.case,
        dice=dice,
        accuracy=accuracy,
        iou=mean_of(iou),
        iou_at_half=mean_of(iou_at_half),
        predicted=predicted.channels,
        loss=predicted.loss,
        confusion=confusion,
    )


def mean_of(values: Sequence[float]) -> float:
    """The mean; NaN of none."""
    return float(np.mean(values)) if values else float("nan")


def pooled(scores: Sequence[CaseScore]) -> PixelMetrics:
    """Metrics over the voxels of all cases, and their mean loss; NaN without cases."""
    confusion = np.sum([score.confusion for score in scores], axis=0) if scores else np.zeros((1, 1), np.int64)
    return pixel_metrics(confusion, mean_of([score.loss for score in scores]))


def mean_dice(scores: Sequence[CaseScore]) -> dict[str, float]:
    """By organ, the mean over the cases that have it."""
    organs = dict.fromkeys(organ for score in scores for organ in score.dice)
    return {organ: float(np.mean([s.dice[organ] for s in scores if organ in s.dice])) for organ in organs}
