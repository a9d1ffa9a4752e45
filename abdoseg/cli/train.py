"""abdoseg train: from datasets to weights."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk
from abdoseg.cli.data import data_options, requested, show_gathered

if TYPE_CHECKING:
    from abdoseg.training.gather import Gathered
    from abdoseg.training.parallel import World
    from abdoseg.training.recipes import TrainingConfig
    from abdoseg.training.runs import Setting
    from abdoseg.training.splits import Split


def _duration(ctx: click.Context, option: click.Parameter, text: str | None) -> float | None:
    """Seconds from 90s, 45m, 2h, 1h30m, or plain seconds."""
    if text is None:
        return None
    number = r"(\d+(?:\.\d+)?)"
    match = re.fullmatch(f"(?:{number}h)?(?:{number}m)?(?:{number}s?)?", text)
    seconds = sum(float(n or 0) * unit for n, unit in zip(match.groups(), (3600, 60, 1), strict=True)) if match else 0
    if not seconds:
        raise click.BadParameter(f"{text!r} is no duration; write 90s, 45m, 2h or 1h30m")
    return float(seconds)


def _words(ctx: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def _counts(ctx: click.Context, option: click.Parameter, text: str | None) -> tuple[int, ...]:
    """Whole numbers above 0 between commas."""
    words = _words(ctx, option, text)
    if not all(word.isdigit() and int(word) for word in words):
        raise click.BadParameter(f"{text!r} is no list of counts; write 1,2,4,8")
    return tuple(int(word) for word in words)


@click.command()
@data_options
@click.option("-o", "--output", "run", type=click.Path(path_type=Path), default="run", show_default=True,
              help="The run's folder: weights, checkpoint, log, pictures, model card.")  # fmt: skip
@click.option("--recipe", help="A recipe's name or JSON file.  [default: default; with --resume the run's own]")
@click.option("--organs", callback=_words, metavar="LIST", help="Learn and deliver these organs, commas between.")
@click.option("--epochs", type=click.IntRange(min=1), help="How long; the learning rate falls over it.")
@click.option("--time-budget", callback=_duration, metavar="2h", help="How long by the clock; the rate falls over it.")
@click.option("--patience", type=click.IntRange(min=1), metavar="N", help="End after N epochs without a better one.")
@click.option("--batch", type=click.IntRange(min=1), help="Patches a step and process.")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="At its height.")
@click.option("--painted", type=click.FloatRange(0, 1), help="Share of patches painted from label maps.")
@click.option("--seed", type=click.IntRange(min=0), help="Of weights, patches and split.")
@click.option("--val", "share", type=click.FloatRange(0, 0.9), default=0.1, show_default=True,
              help="Share of the patients that validate, chosen by hash.")  # fmt: skip
@click.option("--val-cases", callback=_words, metavar="LIST", help="The cases that validate, commas between.")
@click.option("--split", "split_file", type=click.Path(path_type=Path), help="A file that lists them, or split.json.")
@click.option("--folds", type=click.IntRange(min=2), help="Cross-validate: a run for each fold.")
@click.option("--fold", type=click.IntRange(min=1), help="Only this one of the --folds, from 1.")
@click.option(
    "--learning-curve", "curve", callback=_counts, metavar="1,2,4,8", help="Dice by number of training cases."
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Runs a --learning-curve point."
)
@click.option("--resume", is_flag=True, help="Go on where the run in the output folder was.")
@click.option("--deterministic", is_flag=True, help="Two runs give the same weights, bit for bit.")
@click.option("--dry-run", is_flag=True, help="Pack the data, say what was understood, and stop.")
@options.device
@options.threads
@options.overwrite
@options.quiet
def train(run: Path, device: str, quiet: bool, **flags: Any) -> None:
    """Train a network on labelled scans, and on label maps without scans.

    Datasets are read as they are: FLARE22 (folder or zip), imagesTr/labelsTr, BTCV, AMOS, KiTS, TotalSegmentator,
    DICOM folders beside label files, or a CSV of pairs. Stopped with Ctrl-C or by the machine, a run goes on with
    --resume.

    \b
      abdoseg train --data FLARE22/
      abdoseg train --data Task03_Liver/ --labels msd-liver --organs liver --time-budget 2h
      abdoseg train --data FLARE22.zip --data more.csv --weight 1 --weight 2 --folds 5
      torchrun --nproc-per-node 4 -m abdoseg train --data FLARE22/
    """
    from abdoseg.model.weights import pick_device
    from abdoseg.training.parallel import joined

    with joined(device) as world:
        talk = Talk(quiet or not world.leads)
        _check(run, flags)
        where = pick_device(f"cuda:{world.local}" if world.size > 1 and device in ("auto", "cuda") else device)
        _settle_torch(flags)
        config = _recipe(run, flags)
        gathered = _gather(config, flags, world)
        show_gathered(gathered, talk)
        config = _learnable(config, gathered, flags, talk)
        split = _split(gathered, config, flags)
        if not flags["curve"]:
            talk.say(f"{len(split.train)} cases train, {len(split.validate)} validate ({split.how})")
        if flags["dry_run"]:
            return
        with _stop_on_signals(talk) as stop, ExitStack() as stack:
            _carry_out(_setting(gathered, config, where, stop, flags, talk, world, stack), split, run, flags, talk)
    if stop():
        raise click.Abort


def _check(run: Path, flags: dict[str, Any]) -> None:
    """Refuses what contradicts itself, before any work."""
    from abdoseg.errors import OutputError
    from abdoseg.training.fit import CHECKPOINT

    chosen = [f"--{name}" for name in ("val-cases", "split", "folds")
              if flags[{"val-cases": "val_cases", "split": "split_file", "folds": "folds"}[name]]]  # fmt: skip
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(chosen)} both choose the validation cases; give one")
    if flags["fold"] and not flags["folds"]:
        raise click.UsageError("--fold says which of --folds; give both")
    if flags["fold"] and flags["fold"] > flags["folds"]:
        raise click.UsageError(f"there is no --fold {flags['fold']} of {flags['folds']}")
    if flags["curve"] and flags["folds"]:
        raise click.UsageError("--learning-curve has its own runs; leave --folds out")
    if flags["deterministic"] and flags["time_budget"]:
        raise click.UsageError("a --time-budget follows the clock, which is not --deterministic; give --epochs")
    found = next(run.rglob(CHECKPOINT), None)
    if found and not (flags["resume"] or flags["overwrite"] or flags["dry_run"]):
        raise OutputError(f"{found.parent}: holds a run already; --resume it, --overwrite it, or name another with -o")


def _settle_torch(flags: dict[str, Any]) -> None:
    import torch

    if flags["threads"]:
        torch.set_num_threads(flags["threads"])
    if flags["deterministic"]:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def _recipe(run: Path, flags: dict[str, Any]) -> TrainingConfig:
    """The recipe, with the fields that flags replace."""
    from abdoseg.training.recipes import find_recipe

    kept = run / "recipe.json"
    name = flags["recipe"] or (kept if flags["resume"] and kept.is_file() else "default")
    fields = ("epochs", "batch", "learning_rate", "painted", "seed")
    return replace(find_recipe(name), **{f: flags[f] for f in fields if flags[f] is not None})


def _gather(config: TrainingConfig, flags: dict[str, Any], world: World) -> Gathered:
    """The data, packed by the leading process alone."""
    from abdoseg.training.gather import gather

    def get() -> Gathered:
        how = {"keep_going": flags["keep_going"], "realign": flags["realign"]}
        return gather(requested(flags), config, flags["cache"], **how)

    gathered = get() if world.leads else None
    world.wait()
    return gathered or get()


def _learnable(config: TrainingConfig, gathered: Gathered, flags: dict[str, Any], talk: Talk) -> TrainingConfig:
    from abdoseg.training.gather import suited

    learnt = suited(config, gathered.cache, flags["organs"])
    dropped = [organ for organ in config.organs if organ not in learnt.organs]
    if dropped and not flags["organs"]:
        talk.warn(f"no case is annotated for {', '.join(dropped)}: not learnt")
    return learnt


def _split(gathered: Gathered, config: TrainingConfig, flags: dict[str, Any]) -> Split:
    from abdoseg.training import splits
    from abdoseg.training.runs import completed

    scans = gathered.scans()
    if flags["val_cases"]:
        split = splits.by_names(scans, flags["val_cases"])
    elif flags["split_file"]:
        split = splits.by_file(scans, flags["split_file"])
    elif flags["folds"]:
        split = splits.by_fold(scans, flags["folds"], flags["fold"] or 1, config.seed)
    elif scans:
        split = splits.by_share(scans, flags["share"], config.seed)
    else:
        split = splits.Split((), (), "no scans to validate on")
    return completed(gathered, split)


def _setting(
    gathered: Gathered, config: TrainingConfig, where: Any, stop: Callable[[], bool], flags: dict[str, Any],
    talk: Talk, world: World, stack: ExitStack,
) -> Setting:  # fmt: skip
    from abdoseg.cli.live import LiveTable
    from abdoseg.training import events
    from abdoseg.training.fit import Terms
    from abdoseg.training.runs import Setting

    def watchers(run: Path, config: TrainingConfig) -> Sequence[Any]:
        stack.close()  # the former run's table
        table = stack.enter_context(LiveTable(talk, config.delivered))
        return [table, events.Events(run)] if events.is_available() else [table]

    terms = Terms(where, flags["resume"], flags["time_budget"], flags["patience"], stop)
    command = " ".join(shlex.quote(word) for word in ["abdoseg", *sys.argv[1:]])
    return Setting(gathered, config, terms, command, watchers, world)


def _carry_out(setting: Setting, split: Split, run: Path, flags: dict[str, Any], talk: Talk) -> None:
    """Runs what was asked for, says how it went, and prints the weights' path."""
    from abdoseg.training.report import summary
    from abdoseg.training.runs import cross_validate, learning_curve, train_once

    if flags["curve"]:
        for point in learning_curve(setting, split, flags["curve"], flags["seeds"], run):
            talk.say(f"{point.cases} cases, {point.organ}: Dice {point.dice:.3f} +- {point.ci95:.3f}")
        return
    if flags["folds"] and not flags["fold"]:
        rows = cross_validate(setting, flags["folds"], run)
        weights = sorted(run.glob("fold*/best.safetensors"))
    else:
        result = train_once(setting, split, run)
        rows, weights = list(result.rows), [result.outcome.weights]
        if result.outcome.ended == "patience":
            talk.say(f"no better epoch for {flags['patience']}: ended at step {result.outcome.progress.step}")
    for organ, (dice, deviation, nsd, cases) in summary(rows).items():
        talk.say(f"{organ}: Dice {dice:.3f} (sd {deviation:.3f}), NSD {nsd:.3f}, {cases} cases")
    if setting.world.leads:
        for path in weights:
            click.echo(path)


@contextmanager
def _stop_on_signals(talk: Talk) -> Iterator[Callable[[], bool]]:
    """Ctrl-C or SIGTERM ends the run after the step under way, with a checkpoint; a second Ctrl-C at once."""
    import signal

    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)
        talk.say("stopping after this step; go on with --resume")

    former = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
