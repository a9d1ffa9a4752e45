"""The training loop: batches in, weights out, a checkpoint and a log line an epoch."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from abdoseg.errors import OutputError, ResourceError, TrainingError
from abdoseg.inference.quantized import calibrate
from abdoseg.model.device import fastest_float, to_device, typed_memory_errors
from abdoseg.model.weights import build_network, to_bytes
from abdoseg.runtime.files import ensure_writable, reason, writing
from abdoseg.runtime.threads import cores
from abdoseg.training.augment.rng import CPU
from abdoseg.training.augment.sampler import Batch, Sampler
from abdoseg.training.checkpoint import Progress, load_checkpoint, save_checkpoint, update_ema
from abdoseg.training.data.cache import Cache
from abdoseg.training.distributed import ALONE, World
from abdoseg.training.encoder_weights import load_encoder
from abdoseg.training.history import LOG_FILE, Epoch, Watcher, append, read_log
from abdoseg.training.losses import mixed_loss, owners_of
from abdoseg.training.pixel_metrics import count_confusion, pixel_metrics
from abdoseg.training.prefetch import auto_workers, prefetch
from abdoseg.training.recipes import TrainingConfig
from abdoseg.training.schedule import RunClock, RunLimits, learning_rate
from abdoseg.training.validation import mean_dice, mean_of, pooled, validate
from abdoseg.training.warm_start import freeze_statistics, warm_start

LOG = logging.getLogger("abdoseg")
CHECKPOINT, BEST, LAST = "checkpoint.safetensors", "best.safetensors", "last.safetensors"
# To come, on which activation ranges are measured. More make the ranges wider and labels no better: by the ranges of
# 16, 64 and 128 patches the quantized network differs from the float one in .454, .454 and .471 percent of the organs'
# voxels in 16 others.
CALIBRATION_PATCHES = 16
Ended = Literal["done", "early stopping", "stopped"]


@dataclass(frozen=True)
class TrainingSplit:
    """Cases of a cache that train and that validate. weights: how often a case is drawn, 1 unless named."""

    cache: Cache
    train: tuple[str, ...]
    validate: tuple[str, ...]
    weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RunOptions:
    """Where a run computes, what it begins with, and when it ends.

    Attributes:
        resume: go on from the checkpoint in the run's folder, if there is one.
        warm_start: weights, a file or a bundled model's name, that a new run begins with.
        encoder_weights: a safetensors file that the encoder of a new run on slices begins with.
        workers: processes that draw patches, 0 for threads; None is as many as pay.
    """

    device: torch.device
    resume: bool = False
    warm_start: str | None = None
    limits: RunLimits = field(default_factory=RunLimits)
    workers: int | None = None
    encoder_weights: Path | None = None


@dataclass(frozen=True)
class FitResult:
    """weights: the best by validation. ended: why."""

    weights: Path
    ended: Ended
    progress: Progress


def make_optimiser(config: TrainingConfig, network: nn.Module) -> torch.optim.Optimizer:
    """Weight decay falls on the convolutions' kernels only."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    fused = kernels[0].device.type in ("cpu", "cuda")  # one pass over memory instead of a dozen
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, config.learning_rate, momentum=0.99, nesterov=True, fused=fused)
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, config.learning_rate, fused=fused)


def fit(
    split: TrainingSplit,
    config: TrainingConfig,
    run: Path,
    options: RunOptions,
    watchers: Sequence[Watcher] = (),
    world: World = ALONE,
) -> FitResult:
    """Trains in the folder `run`.

    Returns:
        The weights and why the run ended.

    Raises:
        TrainingError, DatasetError, ResourceError, OutputError, ModelError: the last checkpoint is then intact.
    """
    with _translated(run):
        ensure_writable(run)
        state, epochs = _begin(split, config, run, options, world)
    limits = _agreed(options.limits, config, state.progress)
    progress = state.progress
    drawn_on = options.device if options.device.type == "cuda" else CPU  # Metal has no float64
    sampler = Sampler(split.cache, split.train, config, split.weights, world.rank, world.size, drawn_on)
    epoch_steps = config.steps_an_epoch(len(split.train), world.size)
    clock = RunClock(progress, config.epochs * epoch_steps, limits.time_budget_s)
    ended: Ended = "done"
    workers = options.workers
    if workers is None:
        workers = auto_workers(options.device, config, cores() // world.local_size)
    if workers:
        LOG.info("%d processes draw patches on %s", workers, sampler.device.type)
    with prefetch(sampler, progress.step, workers) as batches, _translated(run):
        (done,) = world.agree(clock.fraction())
        while done < 1.0 and ended == "done":
            rate = learning_rate(config, progress.step, done)
            loss, norm = _differentiate(next(batches), state, config, world)
            _check_finite(run, progress.step, loss, norm, world)
            for group in state.optimiser.param_groups:
                group["lr"] = rate
            state.optimiser.step()
            update_ema(state.ema, state.network, config.ema, progress.step)
            progress.loss_sum += loss
            progress.loss_count += 1
            clock.count_step()
            validate_later = world.leads and clock.is_too_soon()
            done, stop, too_soon = world.agree(clock.fraction(), limits.stop(), validate_later)
            for watcher in watchers:
                watcher.stepped(progress, done, loss)
            if done >= 1.0 or (progress.step % epoch_steps == 0 and not too_soon):
                if world.leads:
                    with clock.validating():
                        epochs.append(_epoch(split, config, run, options.device, state, rate, sampler))
                    for watcher in watchers:
                        watcher.epoch_done(epochs)
                    state.save(run / CHECKPOINT)  # last, so that a run killed before repeats all that the epoch wrote
                done, stale = world.agree(clock.fraction(), world.leads and _is_stale(progress, limits, epoch_steps))
                ended = "early stopping" if stale else "done"
            elif progress.step == 1 and world.leads:
                state.save(run / CHECKPOINT)  # a run killed in its first epoch keeps what it began with
            if stop and done < 1.0:
                if world.leads:
                    state.save(run / CHECKPOINT)
                ended = "stopped"
    return FitResult(run / BEST, ended, progress)


def _is_stale(progress: Progress, limits: RunLimits, epoch_steps: int) -> bool:
    """Whether no epoch has been better for as many as early stopping says."""
    stale = (progress.step - progress.best_step) / epoch_steps
    return limits.early_stopping is not None and stale >= limits.early_stopping


@dataclass(frozen=True, eq=False)
class _State:
    """All that a step changes.

    ema: the moving average of the weights, which is kept in the end. confusion: (C, C) training voxels of the epoch.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    ema: dict[str, Tensor]
    progress: Progress
    confusion: Tensor

    def save(self, path: Path) -> None:
        self.progress.confusion = self.confusion.tolist()
        save_checkpoint(path, self.network, self.ema, self.optimiser, self.progress)


def _agreed(limits: RunLimits, config: TrainingConfig, progress: Progress) -> RunLimits:
    """The limits; those that the run began with where none are given. Other epochs end its time budget."""
    began = progress.extra.get("limits", {})
    if limits.time_budget_s is None and began.get("epochs") == config.epochs:
        limits = replace(limits, time_budget_s=began.get("time_budget_s"))
    limits = replace(limits, early_stopping=limits.early_stopping or began.get("early_stopping"))
    progress.extra["limits"] = {
        "epochs": config.epochs, "time_budget_s": limits.time_budget_s, "early_stopping": limits.early_stopping,
    }  # fmt: skip
    return limits


def _begin(
    split: TrainingSplit, config: TrainingConfig, run: Path, options: RunOptions, world: World
) -> tuple[_State, list[Epoch]]:
    """A new run's state, or where the one in `run` was; and the epochs that it has behind it."""
    torch.manual_seed(config.seed)
    network = to_device(build_network(config.plan().network), options.device).train()
    if config.frozen_statistics:
        freeze_statistics(network)
    optimiser = make_optimiser(config, network)
    data, epochs = split.cache.digest(), []
    if options.resume and (run / CHECKPOINT).is_file():
        ema, progress = load_checkpoint(run / CHECKPOINT, network, optimiser)
        epochs = read_log(run / LOG_FILE, progress.step) if world.leads else []
        if progress.extra.get("data") not in (None, data):
            LOG.warning("%s: the training data is not what this run began with", run)
    else:
        progress = Progress(extra={"data": data})
        if world.leads:
            for former in (CHECKPOINT, LOG_FILE):
                (run / former).unlink(missing_ok=True)
        if options.warm_start:
            progress.extra["warm_start"] = warm_start(network, config.plan(), options.warm_start)
        if options.encoder_weights:
            progress.extra["encoder_weights"] = load_encoder(network, options.encoder_weights)
        ema = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    if world.rank:
        torch.manual_seed(config.seed + world.rank + progress.step)  # other processes drop other channels
    classes = len(config.organs) + 1
    confusion = torch.zeros((classes, classes), dtype=torch.int64, device=options.device)
    if progress.confusion:
        confusion += torch.tensor(progress.confusion, device=options.device)
    return _State(network, optimiser, ema, progress, confusion), epochs


def _differentiate(batch: Batch, state: _State, config: TrainingConfig, world: World) -> tuple[float, float]:
    """Leaves the clipped gradient of a batch in the network's parameters; returns the loss and the gradient's norm."""
    device = next(state.network.parameters()).device
    dtype = fastest_float(device)
    image = batch.image.to(device, memory_format=torch.channels_last_3d)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logits = state.network(image)  # (B, C, I, J, K)
    target, annotated = batch.target.to(device), batch.annotated.to(device)
    loss = mixed_loss(logits, target, annotated, config.loss_weights, config.dice_weights, config.hosts)
    state.confusion.add_(count_confusion(logits, target, owners_of(annotated, config.hosts)))
    state.optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    world.average_gradients(state.network)
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), config.clip or math.inf)
    return loss.item(), norm.item()


def _epoch(
    split: TrainingSplit,
    config: TrainingConfig,
    run: Path,
    device: torch.device,
    state: _State,
    rate: float,
    sampler: Sampler,
) -> Epoch:
    """Validates, writes the weights and the log line, and notes in the progress what was best."""
    progress = state.progress
    scores = validate(state.ema, config, split.cache, split.validate, device)
    dice = mean_dice(scores)
    mean = float(np.mean([dice[organ] for organ in config.output_organs if organ in dice] or [-1.0]))
    best = mean >= progress.best
    if best:
        progress.best, progress.best_step = mean, progress.step
    loss = progress.loss_sum / max(1, progress.loss_count)
    epoch = Epoch(
        step=progress.step,
        seconds=progress.seconds,
        loss=loss,
        learning_rate=rate,
        dice=dice,
        accuracy=mean_of([score.accuracy for score in scores]),
        iou=mean_of([score.iou for score in scores if score.dice]),
        iou_at_half=mean_of([score.iou_at_half for score in scores if score.dice]),
        train=pixel_metrics(state.confusion.cpu().numpy(), loss),
        validation=pooled(scores),
        digest=digest_of(state.ema),
        best=best,
        scores=tuple(scores),
    )
    progress.loss_sum, progress.loss_count = 0.0, 0
    state.confusion.zero_()
    images = (
        sampler.batch(progress.step + n).image.to(device) for n in range(math.ceil(CALIBRATION_PATCHES / config.batch))
    )
    content = _weights(state.ema, config, progress, images, device)
    for name in (BEST, LAST) if best else (LAST,):
        with writing(run / name, overwrite=True) as temporary:
            temporary.write_bytes(content)
    return append(run / LOG_FILE, epoch, config.organs)


def _weights(
    weights: dict[str, Tensor],
    config: TrainingConfig,
    progress: Progress,
    images: Iterable[Tensor],
    device: torch.device,
) -> bytes:
    """A weights file's content, with the activation ranges that some images give."""
    network = build_network(config.plan().network)
    network.load_state_dict(weights)
    plan = replace(config.plan(), activation_ranges=calibrate(to_device(network, device), images) or None)
    plan.training.update(steps=progress.step, seconds=round(progress.seconds))
    return to_bytes(network, plan)


def digest_of(weights: dict[str, Tensor]) -> str:
    """SHA-256 over the tensors by name: equal if and only if two runs have the same weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _check_finite(run: Path, step: int, loss: float, norm: float, world: World) -> None:
    """Raises TrainingError in every process when the loss or the gradient of one is no number."""
    (broken,) = world.agree(float(not (math.isfinite(loss) and math.isfinite(norm))))
    if broken:
        raise TrainingError(
            f"{run}: at step {step + 1} the loss is {loss:g} and its gradient {norm:g}; the last checkpoint is intact: "
            "--resume it with a lower --learning-rate"
        )


def _resumable(run: Path) -> str:
    return "; the last checkpoint is intact: then --resume" if (run / CHECKPOINT).is_file() else ""


@contextmanager
def _translated(run: Path) -> Iterator[None]:
    """Foreign failures of a run in our words: no memory, no disk; and whether it can go on later."""
    try:
        with typed_memory_errors():
            yield
    except OutputError as error:
        raise OutputError(f"{error}{_resumable(run)}") from error
    except OSError as error:
        raise OutputError(f"{run}: {reason(error, run)}{_resumable(run)}") from error
    except MemoryError as error:
        raise ResourceError(
            f"{run}: there is not enough memory for a step; take a smaller --batch, or a smaller patch in a recipe file"
        ) from error
