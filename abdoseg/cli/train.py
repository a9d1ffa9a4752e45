"""abdoseg train: from datasets to weights."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from abdoseg.cli import options
from abdoseg.cli import param_types as words
from abdoseg.cli.console import Talk
from abdoseg.cli.data_options import data_options, dataset_requests, show_training_data
from abdoseg.cli.former_flags import FormerFlags
from abdoseg.cli.interrupt import stop_on_signals
from abdoseg.cli.process import tune_process

if TYPE_CHECKING:
    from abdoseg.training.data.collect import TrainingData
    from abdoseg.training.data.splits import Split
    from abdoseg.training.distributed import World
    from abdoseg.training.experiments.runs import Setting
    from abdoseg.training.recipes import TrainingConfig


@click.command(cls=FormerFlags, former={"--painted": "--synthetic", "--patience": "--early-stopping"})
@data_options
@click.option("-o", "--output", "run", type=click.Path(path_type=Path), default="run", show_default=True,
              help="The run's folder: weights, checkpoint, log, pictures, model card.")  # fmt: skip
@click.option("--recipe", help="A recipe's name or JSON file.  [default: default, --from's network, or --resume's run]")
@click.option("--from", "begin_from", metavar="FILE|NAME",
              help="Begin with these weights, or a bundled model's; take a low --learning-rate.")  # fmt: skip
@click.option("--organs", callback=words.words, metavar="LIST", help="Learn and deliver these organs, commas between.")
@click.option("--epochs", type=click.IntRange(min=1), help="How long; the learning rate falls over it.")
@click.option(
    "--time-budget", callback=words.duration, metavar="2h", help="How long by the clock; the rate falls over it."
)
@click.option("--early-stopping", "patience", type=click.IntRange(min=1), metavar="N",
              help="End after N epochs without a better one.")  # fmt: skip
@click.option("--batch", type=click.IntRange(min=1), help="Patches a step and process.")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="At its height.")
@click.option("--synthetic", type=click.FloatRange(0, 1), help="Fraction of patches synthesised from label maps.")
@click.option("--seed", type=click.IntRange(min=0), help="Of weights, patches and split.")
@click.option("--val", "share", type=click.FloatRange(0, 0.9), default=0.1, show_default=True,
              help="Share of the patients that validate, chosen by hash.")  # fmt: skip
@click.option("--val-cases", callback=words.words, metavar="LIST", help="The cases that validate, commas between.")
@click.option("--split", "split_file", type=click.Path(path_type=Path), help="A file that lists them, or split.json.")
@click.option("--folds", type=click.IntRange(min=2), help="Cross-validate: a run for each fold.")
@click.option("--fold", type=click.IntRange(min=1), help="Only this one of the --folds, from 1.")
@click.option("--learning-curve", "curve", callback=words.counts, metavar="1,2,4,8",
              help="Dice by number of training cases.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True,
              help="Runs a --learning-curve point.")  # fmt: skip
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
      abdoseg train --data mine.csv --from organs --learning-rate 3e-4 --epochs 10
      abdoseg train --data FLARE22.zip --data more.csv --weight 1 --weight 2 --folds 5
      torchrun --nproc-per-node 4 -m abdoseg train --data FLARE22/
    """
    tune_process()
    from abdoseg.model.device import pick_device
    from abdoseg.training.distributed import joined
    from abdoseg.training.experiments.runs import Setting
    from abdoseg.training.fit import Terms

    _check(run, flags)
    with joined(device) as world:
        talk = Talk(quiet or not world.leads)
        where = world.own(pick_device(device))
        _settle_torch(flags)
        kept = _kept(run, flags) if flags["resume"] else None  # before the leading process writes anything
        if flags["resume"] and not kept:
            talk.say(f"{run}: there is no run yet to be resumed; beginning one")
        data, config = _understand(run, kept, _recipe(run, kept, flags), flags, talk, world)
        split = _split(run, kept, data, config, flags)
        if not flags["curve"]:
            talk.say(f"{len(split.train)} cases train, {len(split.validate)} validate ({split.how})")
        if not split.validate and not flags["curve"]:
            talk.warn("no case validates: nothing will say how good the weights are, and the last ones are kept")
        if flags["dry_run"]:
            return
        with stop_on_signals(talk, "stopping after this step; go on with --resume") as stop, ExitStack() as tables:
            terms = Terms(where, flags["resume"], flags["time_budget"], flags["patience"], stop, flags["begin_from"])
            command = shlex.join(["abdoseg", *sys.argv[1:]])
            _carry_out(Setting(data, config, terms, command, _watchers(talk, tables), world), split, run, flags, talk)
    if stop():
        raise click.Abort


def _check(run: Path, flags: dict[str, Any]) -> None:
    """Refuses what contradicts itself, before any work."""
    from abdoseg.errors import OutputError
    from abdoseg.training.fit import CHECKPOINT

    names = {"val_cases": "--val-cases", "split_file": "--split", "folds": "--folds"}
    chosen = [name for flag, name in names.items() if flags[flag]]
    contradictions = {
        f"{' and '.join(chosen)} both choose the validation cases; give one": len(chosen) > 1,
        "--fold says which of --folds; give both": flags["fold"] and not flags["folds"],
        f"there is no --fold {flags['fold']} of {flags['folds']}": (flags["fold"] or 0) > (flags["folds"] or 0) > 0,
        "--learning-curve has its own runs; leave --folds out": flags["curve"] and flags["folds"],
        "a --time-budget follows the clock, which is not --deterministic; give --epochs": flags["deterministic"]
        and flags["time_budget"],
    }
    for message, contradicts in contradictions.items():
        if contradicts:
            raise click.UsageError(message)
    found = next(run.rglob(CHECKPOINT), None)
    if found and not (flags["resume"] or flags["overwrite"] or flags["dry_run"]):
        raise OutputError(f"{found.parent}: holds a run already; --resume it, --overwrite it, or name another with -o")


def _settle_torch(flags: dict[str, Any]) -> None:
    """Threads, and whether two runs are to be the same."""
    import torch

    from abdoseg.runtime.threads import use_cores

    use_cores(flags["threads"])
    if flags["threads"]:
        torch.set_num_threads(flags["threads"])
    if flags["deterministic"]:
        torch.use_deterministic_algorithms(True)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # older versions refuse to multiply on CUDA without
        torch.backends.cudnn.benchmark = False


def _recipe(run: Path, kept: Path | None, flags: dict[str, Any]) -> TrainingConfig:
    """The recipe, with the fields that flags replace. Weights to begin with bring their network, organs and grid.

    Of a run that is resumed it is the run's own. Raises UsageError for what cannot change any more.
    """
    from abdoseg.model.weights import load_model
    from abdoseg.training.recipes import check_recipe, find_recipe

    changed = {f: flags[f] for f in ("epochs", "batch", "learning_rate", "synthetic", "seed") if flags[f] is not None}
    if kept:
        recipe = find_recipe(kept)
        asked = find_recipe(flags["recipe"]) if flags["recipe"] else recipe
        lasting = ("network", "spacing_mm", "patch", "window_hu", "scaled_to")
        others = [name for name in lasting if getattr(asked, name) != getattr(recipe, name)]
        if changed.pop("seed", recipe.seed) != recipe.seed:
            others.append("seed")
        if others:
            raise click.UsageError(
                f"{run}: the run began with another {' and '.join(others)} (see {kept}); leave --recipe and --seed out "
                "to go on with it, or name another folder with -o"
            )
        own = ("organs", "output_organs", "class_weights", "seed")
        return replace(asked, **{name: getattr(recipe, name) for name in own}, **changed)
    recipe = find_recipe(flags["recipe"] or "default")
    if flags["begin_from"]:
        if flags["recipe"]:
            recipe = replace(recipe, progressive=())
        else:
            recipe = recipe.fitting(load_model(flags["begin_from"], "cpu").plan)
    check_recipe(recipe)
    return replace(recipe, **changed)


def _kept(run: Path, flags: dict[str, Any]) -> Path | None:
    """The recipe of the run in a folder, or of its first fold or point; None when there is no run yet."""
    if flags["curve"]:
        return min(
            run.glob("cases*-seed*/recipe.json"), key=lambda path: int(path.parent.name.split("seed")[1]), default=None
        )
    places = [run, *(sorted(run.glob("fold*")) if flags["folds"] else ())]
    return next((place / "recipe.json" for place in places if (place / "recipe.json").is_file()), None)


def _understand(
    run: Path, kept: Path | None, config: TrainingConfig, flags: dict[str, Any], talk: Talk, world: World
) -> tuple[TrainingData, TrainingConfig]:
    """The data, packed and shown, and the recipe for the organs that it can teach."""
    from abdoseg.training.data.collect import adapt_recipe, collect_datasets

    if not world.leads:
        world.wait()  # the leading process packs, the others find it packed
    how = {"keep_going": flags["keep_going"], "realign": flags["realign"]}
    data = collect_datasets(dataset_requests(flags), config, flags["cache"], **how)
    if world.leads:
        world.wait()
    show_training_data(data, talk)
    learnt = adapt_recipe(config, data.cache, flags["organs"])
    if kept and (learnt.organs, learnt.output_organs) != (config.organs, config.output_organs):
        raise click.UsageError(
            f"{run}: the run learns {', '.join(config.organs)}, not {', '.join(learnt.organs)}; leave --organs out and "
            "give the same --data to go on with it, or name another folder with -o"
        )
    dropped = [organ for organ in config.organs if organ not in learnt.organs]
    if dropped and not flags["organs"]:
        talk.warn(f"no case is annotated for {', '.join(dropped)}: not learnt")
    return data, learnt


def _split(run: Path, kept: Path | None, data: TrainingData, config: TrainingConfig, flags: dict[str, Any]) -> Split:
    """Which cases train and which validate, as the flags say; those of a run that is resumed stay.

    Raises UsageError when the flags say otherwise.
    """
    from abdoseg.training.data import splits
    from abdoseg.training.experiments.runs import SPLIT, completed

    began = kept is not None and (run / SPLIT).is_file()
    if not began or not data.scans() or flags["folds"] or flags["curve"]:
        return completed(data, _chosen(data.scans(), config, flags))
    split = splits.from_run(data.scans(), run / SPLIT)
    if flags["val_cases"] or flags["split_file"]:
        asked = _chosen(data.scans(), config, flags)
        if asked.validate != split.validate:
            raise click.UsageError(
                f"{run}: the run validates on {', '.join(split.validate)}, and has trained on the others; leave "
                "--val-cases and --split out to go on with it, or name another folder with -o"
            )
    return completed(data, split)


def _chosen(scans: dict[str, str], config: TrainingConfig, flags: dict[str, Any]) -> Split:
    """The scans' split."""
    from abdoseg.training.data import splits

    if flags["val_cases"]:
        return splits.by_names(scans, flags["val_cases"])
    if flags["split_file"]:
        return splits.by_file(scans, flags["split_file"])
    if flags["folds"]:
        return splits.by_fold(scans, flags["folds"], flags["fold"] or 1, config.seed)
    if scans:
        return splits.by_fraction(scans, flags["share"], config.seed)
    return splits.Split((), (), "no scans to validate on")


def _watchers(talk: Talk, tables: ExitStack) -> Callable[[Path, TrainingConfig], Sequence[Any]]:
    """Who is told how a run goes: a live table, in the former run's place, and TensorBoard where it is installed."""
    from abdoseg.cli.live_table import LiveTable
    from abdoseg.training.experiments import tensorboard as events

    def watchers(run: Path, config: TrainingConfig) -> Sequence[Any]:
        tables.close()
        table = tables.enter_context(LiveTable(talk, config.output_organs))
        return [table, events.Events(run)] if events.is_available() else [table]

    return watchers


def _carry_out(setting: Setting, split: Split, run: Path, flags: dict[str, Any], talk: Talk) -> None:
    """Runs what was asked for, says how it went, and prints the weights' path."""
    from abdoseg.training.experiments.model_card import summary
    from abdoseg.training.experiments.runs import cross_validate, learning_curve, train_once

    if flags["curve"]:
        for point in learning_curve(setting, split, flags["curve"], flags["seeds"], run):
            talk.say(point.text)
        return
    if flags["folds"] and not flags["fold"]:
        rows = cross_validate(setting, flags["folds"], run)
        weights = sorted(run.glob("fold*/best.safetensors"))
    else:
        result = train_once(setting, split, run)
        rows, weights = list(result.rows), [result.outcome.weights]
        if result.outcome.ended == "patience":
            talk.say(f"no better epoch for long enough: ended at step {result.outcome.progress.step}")
    for organ, (dice, deviation, nsd, cases) in summary(rows).items():
        talk.say(f"{organ}: Dice {dice:.3f} (sd {deviation:.3f}), NSD {nsd:.3f}, {cases} cases")
    if setting.world.leads:
        for path in weights:
            click.echo(path)
