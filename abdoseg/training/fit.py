"""The training loop, all of it visible: batches in, weights out, a checkpoint and a log line an epoch."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from abdoseg.errors import OutputError, ResourceError, TrainingError
from abdoseg.inference.quantized import calibrate
from abdoseg.model.device import fastest_float, to_device
from abdoseg.model.weights import build_network, to_bytes
from abdoseg.runtime.files import ensure_writable, writing
from abdoseg.training.augment.rng import CPU
from abdoseg.training.augment.sampler import Batch, Sampler
from abdoseg.training.checkpoint import Progress, average, load_checkpoint, save_checkpoint
from abdoseg.training.data.cache import Cache
from abdoseg.training.distributed import ALONE, World
from abdoseg.training.history import LOG_FILE, Epoch, Watcher, append, read_log
from abdoseg.training.losses import mixed_loss
from abdoseg.training.prefetch import drawn_ahead
from abdoseg.training.recipes import TrainingConfig
from abdoseg.training.schedule import Pace
from abdoseg.training.validation import mean_dice, mean_of, validate
from abdoseg.training.warm_start import warm_start

LOG = logging.getLogger("abdoseg")
CHECKPOINT, BEST, LAST = "checkpoint.safetensors", "best.safetensors", "last.safetensors"
MEASURED = 8  # batches to come, on which the ranges of feature maps are measured
Ended = Literal["done", "patience", "stopped"]


@dataclass(frozen=True)
class Task:
    """What is learnt from: cases of a cache. weights: how often a case is drawn, 1 unless named."""

    cache: Cache
    train: tuple[str, ...]
    validate: tuple[str, ...]
    weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Terms:
    """How long and where. time_budget_s: the whole run's, all sittings; the schedule then follows the clock.

    patience: epochs without a better validation after which it ends. stop: asked after each step whether to end.
    begin_from: weights, a file or a bundled model's name, that a new run begins with.
    """

    device: torch.device
    resume: bool = False
    time_budget_s: float | None = None
    patience: int | None = None
    stop: Callable[[], bool] = lambda: False
    begin_from: str | None = None


@dataclass(frozen=True)
class Outcome:
    """weights: the best by validation. ended: why."""

    weights: Path
    ended: Ended
    progress: Progress


def learning_rate(config: TrainingConfig, step: int, share: float) -> float:
    """The rate of a step; share: how much of the run is done, by steps or by time, 0 to 1."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    decay: float = {
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
    fused = kernels[0].device.type in ("cpu", "cuda")  # one pass over memory instead of a dozen
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, config.learning_rate, momentum=0.99, nesterov=True, fused=fused)
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, config.learning_rate, fused=fused)


def fit(
    task: Task, config: TrainingConfig, run: Path, terms: Terms, watchers: Sequence[Watcher] = (), world: World = ALONE
) -> Outcome:
    """Trains in the folder `run`, and returns the weights and why it ended.

    Raises TrainingError, DatasetError, ResourceError, ModelError; the last checkpoint is then intact.
    """
    ensure_writable(run)
    with _translated(run):
        state, epochs = _begin(task, config, run, terms, world)
    terms = _agreed(terms, config, state.progress)
    progress, spread = state.progress, world.wrap(state.network)
    drawn_on = terms.device if terms.device.type == "cuda" else CPU  # Metal has no float64
    sampler = Sampler(task.cache, task.train, config, task.weights, world.rank, world.size, drawn_on)
    epoch_steps = config.steps_an_epoch(len(task.train), world.size)
    pace = Pace(progress, config.epochs * epoch_steps, terms.time_budget_s)
    ended: Ended = "done"
    with drawn_ahead(sampler, progress.step) as batches, _translated(run):
        (done,) = world.agree(pace.share())
        while done < 1.0 and ended == "done":
            rate = learning_rate(config, progress.step, done)
            loss, norm = _differentiate(spread, next(batches), state, config)
            _check_finite(run, progress.step, loss, norm, world)
            for group in state.optimiser.param_groups:
                group["lr"] = rate
            state.optimiser.step()
            average(state.running, state.network, config.ema, progress.step)
            progress.losses += loss
            progress.counted += 1
            pace.stepped()
            done, stop, soon = world.agree(pace.share(), float(terms.stop()), float(world.leads and pace.too_soon()))
            for watcher in watchers:
                watcher.stepped(progress, done, loss)
            if done >= 1.0 or (progress.step % epoch_steps == 0 and not soon):
                if world.leads:
                    with pace.validating():
                        epochs.append(_epoch(task, config, run, terms.device, state, rate, sampler))
                    state.save(run / CHECKPOINT)
                    for watcher in watchers:
                        watcher.epoch_done(epochs)
                stale = (progress.step - progress.best_step) / epoch_steps
                out_of_patience = world.leads and terms.patience is not None and stale >= terms.patience
                done, tired = world.agree(pace.share(), float(out_of_patience))
                ended = "patience" if tired else "done"
            if stop and done < 1.0:
                if world.leads:
                    state.save(run / CHECKPOINT)
                ended = "stopped"
    return Outcome(run / BEST, ended, progress)


@dataclass(frozen=True, eq=False)
class _State:
    """All that a step changes. running: the average of the weights that is kept in the end."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    running: dict[str, Tensor]
    progress: Progress

    def save(self, path: Path) -> None:
        save_checkpoint(path, self.network, self.running, self.optimiser, self.progress)


def _agreed(terms: Terms, config: TrainingConfig, progress: Progress) -> Terms:
    """The terms, those of a run that goes on where none are given: other epochs end its time budget."""
    began = progress.extra.get("terms", {})
    if terms.time_budget_s is None and began.get("epochs") == config.epochs:
        terms = replace(terms, time_budget_s=began.get("time_budget_s"))
    terms = replace(terms, patience=terms.patience or began.get("patience"))
    held = {"epochs": config.epochs, "time_budget_s": terms.time_budget_s, "patience": terms.patience}
    progress.extra["terms"] = held
    return terms


def _begin(task: Task, config: TrainingConfig, run: Path, terms: Terms, world: World) -> tuple[_State, list[Epoch]]:
    """A new run's state, or where the one in `run` was; and the epochs that it has behind it."""
    torch.manual_seed(config.seed)
    network = to_device(build_network(config.plan().network), terms.device).train()
    optimiser = make_optimiser(config, network)
    data, epochs = task.cache.digest(), []
    if terms.resume and (run / CHECKPOINT).is_file():
        running, progress = load_checkpoint(run / CHECKPOINT, network, optimiser)
        epochs = read_log(run / LOG_FILE, progress.step) if world.leads else []
        if progress.extra.get("data") not in (None, data):
            LOG.warning("%s: the training data is not what this run began with", run)
    else:
        progress = Progress(extra={"data": data})
        if terms.begin_from:
            progress.extra["began_from"] = warm_start(network, config.plan(), terms.begin_from)
        running = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    if world.rank:
        torch.manual_seed(config.seed + world.rank + progress.step)  # other processes drop other channels
    return _State(network, optimiser, running, progress), epochs


def _differentiate(spread: nn.Module, batch: Batch, state: _State, config: TrainingConfig) -> tuple[float, float]:
    """Leaves the clipped gradient of a batch in the network's parameters; gives the loss and the gradient's norm."""
    device = next(state.network.parameters()).device
    dtype = fastest_float(device)
    image = batch.image.to(device, memory_format=torch.channels_last_3d)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logits = spread(image)  # (B, C, I, J, K)
    target, annotated = batch.target.to(device), batch.annotated.to(device)
    loss = mixed_loss(logits, target, annotated, config.loss_weights, config.dice_weights)
    state.optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), config.clip or math.inf)
    return loss.item(), norm.item()


def _epoch(
    task: Task,
    config: TrainingConfig,
    run: Path,
    device: torch.device,
    state: _State,
    rate: float,
    sampler: Sampler,
) -> Epoch:
    """Validates, writes the weights and the log line, and notes in the progress what was best."""
    progress = state.progress
    scores = validate(state.running, config, task.cache, task.validate, device)
    dice = mean_dice(scores)
    mean = float(np.mean([dice[organ] for organ in config.output_organs if organ in dice] or [-1.0]))
    best = mean >= progress.best
    if best:
        progress.best, progress.best_step = mean, progress.step
    epoch = Epoch(
        progress.step, progress.seconds, progress.losses / max(1, progress.counted), rate, dice,
        mean_of([s.accuracy for s in scores]), mean_of([s.iou for s in scores if s.dice]),
        mean_of([s.iou_at_half for s in scores if s.dice]), digest_of(state.running), best, tuple(scores),
    )  # fmt: skip
    progress.losses, progress.counted = 0.0, 0
    images = (sampler.batch(progress.step + n).image.to(device) for n in range(MEASURED))
    content = _weights(state.running, config, progress, images, device)
    for name in (BEST, LAST) if best else (LAST,):
        with writing(run / name, overwrite=True) as temporary:
            temporary.write_bytes(content)
    append(run / LOG_FILE, epoch, config.organs)
    return epoch


def _weights(
    weights: dict[str, Tensor],
    config: TrainingConfig,
    progress: Progress,
    images: Iterable[Tensor],
    device: torch.device,
) -> bytes:
    """A weights file's content, with what the feature maps of some images reach."""
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
    """Foreign failures of a run in our words: no memory, no disk."""
    try:
        yield
    except OutputError as error:
        raise ResourceError(f"{error}{_resumable(run)}") from error
    except OSError as error:
        raise ResourceError(
            f"{run}: cannot be written ({error.strerror or error}); free some space{_resumable(run)}"
        ) from error
    except (MemoryError, RuntimeError) as error:
        full = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
        if not full:
            raise
        raise ResourceError(
            f"{run}: there is not enough memory for a step; take a smaller --batch, or a smaller patch in a recipe file"
        ) from error
