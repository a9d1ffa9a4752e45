"""What the network is told about its mistakes: cross-entropy, Dice, focal, and their mixtures, with partial labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def merge_unannotated(logits: Tensor, annotated: Tensor) -> Tensor:
    """Logits (C, ...) where channels that nobody annotated are one with the background: (1 + A, ...).

    annotated: (C,) bool, False for the background's own channel 0. A voxel called background by the truth may be any
    organ that the annotator did not look for, so those probabilities add up, as in Fang and Yan 2020,
    doi:10.1109/TMI.2020.3001036, equation 3. `targets` of such a case hold annotated channels only.
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


def dice_and_cross_entropy(
    logits: Tensor, target: Tensor, annotated: Tensor, weights: Sequence[float] = (1.0, 1.0)
) -> Tensor:
    """The mean over the batch of weights[0] (1 - soft Dice of the organs) + weights[1] cross-entropy.

    logits (B, C, I, J, K), target (B, I, J, K) int64 channels, annotated (B, C) bool. Dice sums over the whole
    batch, so that an organ that a patch lacks costs only what is hallucinated.
    Source: Milletari 2016 for the Dice loss (squares in the denominator); Isensee 2021 for the sum of the two.
    """
    classes = logits.shape[1]
    overlap, total = torch.zeros(2, classes, device=logits.device)
    entropy = torch.zeros((), device=logits.device)
    for sample, truth, known in zip(logits.float(), target, annotated, strict=True):
        merged = merge_unannotated(sample, known).flatten(1)  # (1 + A, N)
        answer = renumber(truth, known).flatten()  # (N,)
        log_p = F.log_softmax(merged, dim=0)
        entropy = entropy + F.nll_loss(log_p[None], answer[None])
        p = log_p.exp()
        counts = torch.bincount(answer, minlength=len(p)).to(p.dtype)
        right = torch.zeros_like(counts).index_add(0, answer, p.gather(0, answer[None])[0])
        where = torch.nonzero(known).flatten()
        overlap = overlap.index_add(0, where, right[1:])
        total = total.index_add(0, where, p[1:].square().sum(dim=1) + counts[1:])
    seen = annotated.any(dim=0)
    dice = (2 * overlap[seen] + 1.0) / (total[seen] + 1.0)
    return weights[0] * (1 - dice.mean()) + weights[1] * entropy / len(logits)
