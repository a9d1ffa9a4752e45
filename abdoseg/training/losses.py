"""What the network is told about its mistakes: Dice, cross-entropy, focal, and their mixtures, with partial labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

FOCUS = 2.0  # the focal loss's gamma. Source: Lin 2017, doi:10.1109/ICCV.2017.324
SMOOTH = 1.0  # voxels, so that an organ that nobody sees costs nothing
CHUNK = 32768  # voxels at a time on a CPU, so that they stay in its caches


def mixed_loss(
    logits: Tensor,
    target: Tensor,
    annotated: Tensor,
    weights: Sequence[float] = (1.0, 1.0, 0.0),
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """weights[0] (1 - soft Dice of the organs) + weights[1] cross-entropy + weights[2] focal loss.

    logits (B, C, I, J, K), target (B, I, J, K) int64 channels, annotated (B, C) bool, False for the background's own
    channel 0. Dice sums over the whole batch, so that an organ that a patch lacks costs only what is hallucinated.
    class_weights: C numbers; Dice is then their weighted mean, background included; without, the mean of the organs.
    Source: Milletari 2016 for the Dice loss (squares in the denominator); Isensee 2021 for its sum with the entropy.
    """
    overlap, total, pixelwise = _Tally.apply(logits, target, annotated, *weights[1:])  # type: ignore[no-untyped-call]
    share = annotated.any(dim=0).to(overlap.dtype)
    if class_weights is not None:
        share[0] = 1.0
        share *= torch.tensor(class_weights, device=share.device)
    dice = (2 * overlap + SMOOTH) / (total + SMOOTH)
    mean_dice = (share * dice).sum() / share.sum().clamp(min=1e-6)
    loss: Tensor = weights[0] * (1 - mean_dice) + pixelwise
    return loss


def merge_unannotated(log_p: Tensor, annotated: Tensor) -> Tensor:
    """Log probabilities (C, N) where the channels that nobody annotated are one with the background, and then empty.

    annotated: (C,) bool, False for the background's own channel 0. A voxel called background by the truth may be any
    organ that the annotator did not look for, so those probabilities add up.
    Source: the marginal loss of Shi et al. 2021, Medical Image Analysis 70, 101979.
    """
    merged = log_p.masked_fill(~annotated[:, None], -torch.inf)
    merged[0] = log_p[~annotated].logsumexp(dim=0)
    return merged


class _Tally(torch.autograd.Function):
    """The sums that the losses are made of, their gradient written by hand: it costs half of what autograd's does.

    Gives overlap (C,), the sum of p over the voxels of each class; total (C,), the sum of p^2 and of voxels of each
    class; and the mean over all voxels of the weighted cross-entropy and focal loss, which depend on q alone, the p of
    the true class y. With G_c = dL/d(sum of p_c^2) 2 p_c and s = dL/d(log q), the gradient of a logit is
    dL/dz_c = p_c (G_c - sum_k G_k p_k - s) + [c = y] s.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, annotated: Tensor, entropy: float, focal: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        exact = torch.promote_types(logits.dtype, torch.float32)
        overlap, total = torch.zeros(2, logits.shape[1], dtype=exact, device=logits.device)
        pixelwise = torch.zeros((), dtype=exact, device=logits.device)
        kept = []
        for z, y, known in _parts(logits, target, annotated):
            log_p = F.log_softmax(z.to(exact).contiguous(), dim=0)  # (C, N)
            if known is not None:
                log_p = merge_unannotated(log_p, known)
            log_q = log_p.gather(0, y[None])[0]
            q = log_q.exp()
            pixelwise -= ((entropy + focal * (1 - q) ** FOCUS) * log_q).sum()
            p = log_p.exp_()
            overlap.index_add_(0, y, q)
            total += torch.linalg.vector_norm(p, dim=1) ** 2 + torch.bincount(y, minlength=len(p))
            kept.append(p)
        ctx.save_for_backward(logits, target, annotated, *kept)
        ctx.costs = entropy, focal
        return overlap, total, pixelwise / target.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_overlap: Tensor, to_total: Tensor, to_pixelwise: Tensor) -> tuple[Tensor | None, ...]:
        logits, target, annotated, *kept = ctx.saved_tensors
        entropy, focal = ctx.costs
        result = torch.empty_like(logits)
        shares = to_pixelwise / target.numel()
        for (z, y, known), (out, *_), p in zip(
            _parts(logits, target, annotated), _parts(result, target, annotated), kept, strict=True
        ):
            q = p.gather(0, y[None])  # (1, N)
            sure = FOCUS * (1 - q) ** (FOCUS - 1) * torch.xlogy(q, q) - (1 - q) ** FOCUS
            s = to_overlap[y] * q + shares * (focal * sure - entropy)
            g = p * (2 * to_total[:, None])
            dot = (g * p).sum(dim=0) + s
            dz = g.sub_(dot).mul_(p).scatter_add_(0, y[None], s)  # (C, N)
            if known is not None:  # what the background's sum gets goes to its parts by their shares
                dz[~known] = F.softmax(z[~known].to(p.dtype), dim=0) * dz[0]
            out.copy_(dz)
        return result, None, None, None, None


def _parts(logits: Tensor, target: Tensor, annotated: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Views of the logits (C, N), the true channels (N,), and what is annotated, or None where everything is.

    Unannotated channels are background in the truth.
    """
    size = CHUNK if logits.device.type == "cpu" else target[0].numel()
    whole = annotated[:, 1:].all(dim=1).tolist()
    for sample, truth, known, full in zip(logits, target, annotated, whole, strict=True):
        for z, y in zip(sample.flatten(1).split(size, dim=1), truth.flatten().split(size), strict=True):
            yield z, y if full else torch.where(known[y], y, 0), None if full else known
