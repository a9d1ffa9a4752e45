"""The training loop, all of it visible: batches in, weights out, a checkpoint and a log line an epoch."""

from __future__ import annotations

import copy
import csv
import json
import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from abdoseg.errors import TrainingError
from abdoseg.model.weights import build_network, to_bytes
from abdoseg.training.augment import AIR_HU
from abdoseg.training.cache import Cache
from abdoseg.training.checkpoint import Progress, average, load_checkpoint, save_checkpoint
from abdoseg.training.losses import dice_and_cross_entropy
from abdoseg.training.recipes import TrainingConfig
from abdoseg.training.sampling import Sampler, channel_table

LOG = logging.getLogger("abdoseg")


def learning_rate(config: TrainingConfig, step: int, share: float) -> float:
    """The rate of a step; share: how much of the run is done, by steps or by time, 0 to 1."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    decay = {
        "constant": 1.0,
        "cosine": 0.5 * (1 + math.cos(math.pi * min(1.0, share))),
        "poly": max(0.0, 1 - share) ** 0.9,
    }[config.schedule]
    return config.learning_rate * warm * decay


def make_optimiser(config: TrainingConfig, network: nn.Module) -> torch.optim.Optimizer:
    """Weight decay falls on the convolutions' kernels only."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, config.learning_rate, momentum=0.99, nesterov=True)
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, config.learning_rate)


def fit(
    cache: Cache,
    train: Sequence[str],
    validate: Sequence[str],
    config: TrainingConfig,
    run: Path,
    *,
    device: torch.device,
    resume: bool = False,
    time_budget_s: float | None = None,
    case_weights: dict[str, float] | None = None,
) -> Path:
    """Trains and returns the weights file, `run`/best.safetensors.

    Raises TrainingError, DatasetError, ResourceError.
    """
    torch.manual_seed(config.seed)
    plan = config.plan()
    network = build_network(plan.network).to(device, memory_format=torch.channels_last_3d).train()
    optimiser = make_optimiser(config, network)
    running = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    progress = Progress()
    checkpoint = run / "checkpoint.safetensors"
    if resume and checkpoint.is_file():
        running, progress = load_checkpoint(checkpoint, network, optimiser)
        LOG.info("resuming at step %d", progress.step)
    run.mkdir(parents=True, exist_ok=True)
    (run / "recipe.json").write_text(config.to_json(), encoding="utf-8")
    sampler = Sampler(cache, train, config, case_weights)
    losses: list[float] = []
    began, before = time.monotonic(), progress.seconds

    def share() -> float:
        return progress.seconds / time_budget_s if time_budget_s else progress.step / config.steps

    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(sampler.batch, progress.step)
        while share() < 1.0:
            batch = coming.result()
            coming = ahead.submit(sampler.batch, progress.step + 1)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(config, progress.step, share())
            image = batch.image.to(device, memory_format=torch.channels_last_3d)
            with torch.autocast(device.type, torch.bfloat16):
                logits = network(image)
            loss = dice_and_cross_entropy(
                logits, batch.target.to(device), batch.annotated.to(device), config.loss_weights
            )
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), config.clip)
            optimiser.step()
            average(running, network, config.ema, progress.step)
            losses.append(loss.item())
            progress.step += 1
            progress.seconds = before + time.monotonic() - began
            if not math.isfinite(losses[-1]):
                raise TrainingError(
                    f"{run}: the loss is {losses[-1]} at step {progress.step}; the last checkpoint is intact: "
                    "--resume it with a lower --learning-rate"
                )
            if progress.step % config.epoch_steps == 0 or share() >= 1.0:
                scores = score(running, config, cache, validate, device)
                mean = float(np.nanmean([v for k, v in scores.items() if k in config.delivered])) if scores else -1.0
                _log(run / "log.csv", progress, float(np.mean(losses)), group["lr"], scores)
                LOG.info(
                    "step %d, %.0f s, loss %.4f, %s", progress.step, progress.seconds, np.mean(losses),
                    ", ".join(f"{organ} {scores[organ]:.3f}" for organ in config.delivered if organ in scores),
                )  # fmt: skip
                losses.clear()
                if mean >= progress.best:
                    progress.best, progress.best_step = mean, progress.step
                    _write_weights(run / "best.safetensors", running, config)
                _write_weights(run / "last.safetensors", running, config)
                save_checkpoint(checkpoint, network, running, optimiser, progress)
    return run / "best.safetensors"


def score(
    weights: dict[str, Tensor], config: TrainingConfig, cache: Cache, cases: Sequence[str], device: torch.device
) -> dict[str, float]:
    """Mean Dice by organ over `cases`, on the network's grid, whole scans at a time."""
    network = build_network(config.plan().network)
    network.load_state_dict(weights)
    network = network.to(device, memory_format=torch.channels_last_3d).eval()
    channels = channel_table(config.organs)
    found: dict[str, list[float]] = {organ: [] for organ in config.organs}
    low, high = config.window_hu
    a, b = config.scaled_to
    stride = network.config.stride  # type: ignore[union-attr]
    for packed in cache.cases:
        if packed.case not in set(cases):
            continue
        hu = torch.from_numpy(np.array(cache.array(packed.case, "image"), dtype=np.float32))
        pads = [extra for n in reversed(hu.shape) for extra in (0, -n % stride)]
        image = (F.pad(hu, pads, value=AIR_HU).clamp(low, high) - low) / (high - low) * (b - a) + a
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            logits = network(image[None, None].to(device, memory_format=torch.channels_last_3d))
        i, j, k = hu.shape
        guess = logits[0, :, :i, :j, :k].argmax(dim=0).cpu().numpy()
        truth = channels[np.asarray(cache.array(packed.case, "labels"))]
        classes = len(config.organs) + 1
        table = np.bincount((truth.astype(np.int64) * classes + guess).ravel(), minlength=classes**2)
        table = table.reshape(classes, classes)
        for channel, organ in enumerate(config.organs, start=1):
            size = table[channel].sum() + table[:, channel].sum()
            if organ in packed.annotated and table[channel].sum() > 0:
                found[organ].append(2 * table[channel, channel] / size)
    return {organ: float(np.mean(values)) for organ, values in found.items() if values}


def _write_weights(path: Path, weights: dict[str, Tensor], config: TrainingConfig) -> None:
    network = build_network(config.plan().network)
    network.load_state_dict(copy.deepcopy(weights))
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(to_bytes(network, config.plan()))
    temporary.replace(path)


def _log(path: Path, progress: Progress, loss: float, rate: float, scores: dict[str, float]) -> None:
    row = {"step": progress.step, "seconds": round(progress.seconds), "loss": round(loss, 5), "learning_rate": rate}
    row |= {f"dice_{organ}": round(value, 4) for organ, value in scores.items()}
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def describe(config: TrainingConfig) -> str:
    """The recipe in one line, for the log."""
    return json.dumps({"recipe": config.recipe, "steps": config.steps, "batch": config.batch, "patch": config.patch})
