"""What the network is told about its mistakes: Dice, cross-entropy, focal, and their mixtures, with partial labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

FOCUS = 2.0  # the focal loss's gamma. Source: Lin 2017, doi:10.1109/ICCV.2017.324
SMOOTH = 1.0  # voxels, so that an organ that nobody sees costs nothing


def merge_unannotated(logits: Tensor, annotated: Tensor) -> Tensor:
    """Logits (C, ...) where channels that nobody annotated are one with the background: (1 + A, ...).

    annotated: (C,) bool, False for the background's own channel 0. A voxel called background by the truth may be any
    organ that the annotator did not look for, so those probabilities add up. `renumber` gives the targets that go with
    it. Source: the marginal loss of Shi et al. 2021, Medical Image Analysis 70, 101979.
    """
    if bool(annotated[1:].all()):
        return logits
    rest = ~annotated
    return torch.cat((logits[rest].logsumexp(dim=0, keepdim=True), logits[annotated]))


def renumber(target: Tensor, annotated: Tensor) -> Tensor:
    """Targets in channels of the plan (...) -> in channels of `merge_unannotated`'s result."""
    table = torch.zeros(len(annotated), dtype=target.dtype, device=target.device)
    table[annotated] = torch.arange(1, int(annotated.sum()) + 1, dtype=target.dtype, device=target.device)
    return table[target]


def mixed_loss(
    logits: Tensor,
    target: Tensor,
    annotated: Tensor,
    weights: Sequence[float] = (1.0, 1.0, 0.0),
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """weights[0] (1 - soft Dice of the organs) + weights[1] cross-entropy + weights[2] focal loss.

    logits (B, C, I, J, K), target (B, I, J, K) int64 channels, annotated (B, C) bool. Dice sums over the whole
    batch, so that an organ that a patch lacks costs only what is hallucinated. class_weights: C numbers; Dice is then
    their weighted mean, background included; without them the mean of the organs.
    Source: Milletari 2016 for the Dice loss (squares in the denominator); Isensee 2021 for its sum with the entropy.
    """
    classes = logits.shape[1]
    overlap, total = torch.zeros(2, classes, device=logits.device)
    pixelwise = torch.zeros((), device=logits.device)
    for sample, truth, known in zip(logits.float(), target, annotated, strict=True):
        merged = merge_unannotated(sample, known).flatten(1)  # (1 + A, N)
        answer = renumber(truth, known).flatten()  # (N,)
        log_p = F.log_softmax(merged, dim=0)
        if weights[1]:
            pixelwise = pixelwise + weights[1] * F.nll_loss(log_p[None], answer[None])
        if weights[2]:
            log_right = log_p.gather(0, answer[None])[0]
            pixelwise = pixelwise - weights[2] * ((1 - log_right.exp()) ** FOCUS * log_right).mean()
        if weights[0]:
            p = log_p.exp()
            counts = torch.bincount(answer, minlength=len(p)).to(p.dtype)
            right = torch.zeros_like(counts).index_add(0, answer, p.gather(0, answer[None])[0])
            channels = F.pad(torch.nonzero(known).flatten(), (1, 0))  # the background leads
            overlap = overlap.index_add(0, channels, right)
            total = total.index_add(0, channels, p.square().sum(dim=1) + counts)
    share = annotated.any(dim=0).float() if class_weights is None else _weights(class_weights, annotated)
    dice = (2 * overlap + SMOOTH) / (total + SMOOTH)
    mean_dice = (share * dice).sum() / share.sum().clamp(min=1e-6)
    loss: Tensor = weights[0] * (1 - mean_dice) + pixelwise / len(logits)
    return loss


def _weights(class_weights: Sequence[float], annotated: Tensor) -> Tensor:
    """(C,) the class weights, 0 for organs that no sample of the batch is annotated for."""
    seen = annotated.any(dim=0)
    seen[0] = True
    return torch.tensor(class_weights, device=annotated.device) * seen
