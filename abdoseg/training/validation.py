"""How good weights are on the validation cases: whole scans on the network's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from abdoseg.model.weights import build_network, fast_type, placed
from abdoseg.training.augment import AIR_HU
from abdoseg.training.cache import Cache, Packed
from abdoseg.training.recipes import TrainingConfig
from abdoseg.training.sampling import channel_table, is_annotated, scale

SLAB_VOXELS = 24_000_000  # more than this at a time would not fit 8 GB
MARGIN = 32  # voxels by which slabs overlap on each side


@dataclass(frozen=True, eq=False)
class CaseScore:
    """dice: by organ, those that are annotated and there. accuracy: share of voxels; iou: mean over those organs.

    guess: (I, J, K) channels, kept for pictures.
    """

    case: str
    dice: dict[str, float]
    accuracy: float
    iou: float
    guess: npt.NDArray[np.uint8] = field(repr=False)


def validate(
    weights: dict[str, Tensor], config: TrainingConfig, cache: Cache, cases: Sequence[str], device: torch.device
) -> list[CaseScore]:
    """Scores weights on cases of the cache. Deterministic; the order is that of `cases`."""
    network = build_network(config.plan().network)
    network.load_state_dict(weights)
    network = placed(network, device).eval()
    return [score_case(predict(network, cache.by_name[case], config, device), cache.by_name[case], config)
            for case in cases]  # fmt: skip


def predict(network: nn.Module, packed: Packed, config: TrainingConfig, device: torch.device) -> npt.NDArray[np.uint8]:
    """(I, J, K) the likeliest channel of each voxel; long scans in slabs that overlap."""
    image = scale(torch.from_numpy(np.array(packed.array("image"), dtype=np.float32)), config)
    stride = int(network.config.stride)  # type: ignore[arg-type]
    depth = max(4 * MARGIN, SLAB_VOXELS // (image.shape[0] * image.shape[1]) // stride * stride)
    parts = []
    for start in range(0, image.shape[2], depth):
        low, high = max(0, start - MARGIN), min(image.shape[2], start + depth + MARGIN)
        guess = _likeliest(network, image[:, :, low:high], stride, config, device)
        parts.append(guess[:, :, start - low : min(start + depth, image.shape[2]) - low])
    return np.concatenate(parts, axis=2)


def _likeliest(
    network: nn.Module, image: Tensor, stride: int, config: TrainingConfig, device: torch.device
) -> npt.NDArray[np.uint8]:
    outside = float(scale(torch.tensor(AIR_HU), config))
    pads = [extra for n in reversed(image.shape) for extra in (0, -n % stride)]
    padded = F.pad(image, pads, value=outside)[None, None]
    dtype = fast_type(device)
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logits = network(padded.to(device, memory_format=torch.channels_last_3d))  # (1, C, I, J, K)
    i, j, k = image.shape
    return np.asarray(logits[0, :, :i, :j, :k].argmax(dim=0).to(torch.uint8).cpu().numpy())


def score_case(guess: npt.NDArray[np.uint8], packed: Packed, config: TrainingConfig) -> CaseScore:
    """Compares a prediction with the case's labels, organs that are annotated and there."""
    truth = channel_table(config.organs)[packed.array("labels")]
    classes = len(config.organs) + 1
    table = np.bincount((truth.astype(np.int64) * classes + guess).ravel(), minlength=classes**2)
    table = table.reshape(classes, classes)
    dice, iou = {}, []
    for channel, organ in enumerate(config.organs, start=1):
        both, one, other = table[channel, channel], table[channel].sum(), table[:, channel].sum()
        if is_annotated(packed, organ) and one > 0:
            dice[organ] = float(2 * both / (one + other))
            iou.append(float(both / (one + other - both)))
    accuracy = float(np.trace(table) / table.sum())
    return CaseScore(packed.case, dice, accuracy, float(np.mean(iou)) if iou else float("nan"), guess)


def mean_dice(scores: Sequence[CaseScore]) -> dict[str, float]:
    """By organ, the mean over the cases that have it."""
    organs = dict.fromkeys(organ for score in scores for organ in score.dice)
    return {organ: float(np.mean([s.dice[organ] for s in scores if organ in s.dice])) for organ in organs}
