"""abdoseg train: from datasets to weights."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from abdoseg.cli import options, param_types
from abdoseg.cli.console import Talk
from abdoseg.cli.data_options import DataFlags, data_options, show_training_data
from abdoseg.cli.former_flags import FormerFlags
from abdoseg.cli.interrupt import stop_on_signals
from abdoseg.cli.process import tune_process
from abdoseg.training.recipe_summaries import listing

if TYPE_CHECKING:
    import torch

    from abdoseg.training.data.collect import TrainingData
    from abdoseg.training.data.splits import Split
    from abdoseg.training.distributed import World
    from abdoseg.training.experiments.runs import Experiment
    from abdoseg.training.recipes import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class TrainOptions(DataFlags):
    """Flags of `abdoseg train`. run: the folder. time_budget: seconds. validation_fraction: of the patients."""

    run: Path
    recipe: str | None
    warm_start: str | None
    encoder_weights: Path | None
    organs: tuple[str, ...]
    epochs: int | None
    time_budget: float | None
    early_stopping: int | None
    batch: int | Literal["auto"] | None
    workers: int | Literal["auto"]
    learning_rate: float | None
    synthetic: float | None
    tumours: float | None
    seed: int | None
    validation_fraction: float
    val_cases: tuple[str, ...]
    split_file: Path | None
    folds: int | None
    fold: int | None
    curve: tuple[int, ...]
    seeds: int
    resume: bool
    deterministic: bool
    dry_run: bool
    device: str
    threads: int | None
    overwrite: bool
    quiet: bool

    @property
    def recipes(self) -> tuple[str, ...]:
        """The recipes that are to be trained one after another."""
        return param_types.words(None, None, self.recipe)

    def recipe_changes(self) -> dict[str, Any]:
        """The fields of the recipe that flags replace."""
        fields = ("epochs", "batch", "learning_rate", "synthetic", "tumours", "seed")
        return {name: value for name in fields if (value := getattr(self, name)) not in (None, "auto")}


def _list_recipes(ctx: click.Context, option: click.Parameter, wanted: bool) -> None:
    """Prints the recipes, and ends."""
    if wanted and not ctx.resilient_parsing:
        click.echo(listing())
        ctx.exit()


@click.command(
    cls=FormerFlags,
    former={"--painted": "--synthetic", "--patience": "--early-stopping"},
    epilog=f"\b\nRecipes:\n{listing()}",
)
@data_options
@click.option("-o", "--output", "run", type=click.Path(path_type=Path), default="run", show_default=True,
              help="The run's folder: weights, checkpoint, log, pictures, model card.")  # fmt: skip
@click.option(
    "--recipe",
    shell_complete=param_types.complete_recipe,
    help="A recipe's name or JSON file; several, commas between, are compared on one split.  "
    "[default: default, --from's network, or --resume's run]",
)
@click.option("--from", "warm_start", metavar="FILE|NAME",
              help="Begin with these weights, or a bundled model's; take a low --learning-rate.")  # fmt: skip
@click.option(
    "--organs",
    callback=param_types.words,
    metavar="LIST",
    shell_complete=param_types.complete_organs,
    help="Learn and deliver these organs, commas between.",
)
@click.option("--encoder-weights", type=click.Path(path_type=Path), metavar="FILE",
              help="Begin a network on slices with this pretrained encoder (.safetensors).")  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1), help="How long; the learning rate falls over it.")
@click.option(
    "--time-budget", callback=param_types.duration, metavar="2h", help="How long by the clock; the rate falls over it."
)
@click.option("--early-stopping", type=click.IntRange(min=1), metavar="N",
              help="End after N epochs without a better one.")  # fmt: skip
@click.option("--batch", callback=param_types.auto_or_from(1), metavar="N|auto",
              help="Patches a step and process; auto: as a GPU has memory, the learning rate with it.")  # fmt: skip
@click.option("--workers", callback=param_types.auto_or_from(0), default="auto", show_default=True, metavar="N|auto",
              help="Processes that draw patches for a GPU; 0 leaves it to threads.")  # fmt: skip
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="At its height.")
@click.option("--synthetic", type=click.FloatRange(0, 1), help="Fraction of patches synthesised from label maps.")
@click.option("--tumours", type=click.FloatRange(0, 1),
              help="Fraction of the patches of healthy livers that get synthetic tumours.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), help="Of weights, patches and split.")
@click.option("--val", "validation_fraction", type=click.FloatRange(0, 0.9), default=0.1, show_default=True,
              help="Fraction of the patients that validate, chosen by hash.")  # fmt: skip
@click.option(
    "--val-cases", callback=param_types.words, metavar="LIST", help="The cases that validate, commas between."
)
@click.option("--split", "split_file", type=click.Path(path_type=Path), help="A file that lists them, or split.json.")
@click.option("--folds", type=click.IntRange(min=2), help="Cross-validate: a run for each fold.")
@click.option("--fold", type=click.IntRange(min=1), help="Only this one of the --folds, from 1.")
@click.option("--learning-curve", "curve", callback=param_types.counts, metavar="1,2,4,8",
              help="Dice by number of training cases.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True,
              help="Runs a --learning-curve point.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on where the run in the output folder was.")
@click.option("--deterministic", is_flag=True, help="Two runs give the same weights, bit for bit.")
@click.option("--dry-run", is_flag=True,
              help="Pack the data, say what was understood and which cases validate, draw one, and stop.")  # fmt: skip
@click.option("--list-recipes", is_flag=True, is_eager=True, expose_value=False, callback=_list_recipes,
              help="Print the recipes, a line each, and stop.")  # fmt: skip
@options.device
@options.threads
@options.overwrite
@options.quiet
@options.as_options(TrainOptions)
def train(given: TrainOptions) -> None:
    """Train a network on labelled scans, and on label maps without scans.

    Datasets are read as they are: FLARE22 (folder or zip), imagesTr/labelsTr, BTCV, AMOS, KiTS, TotalSegmentator,
    DICOM folders beside label files, or a CSV of pairs. Stopped with Ctrl-C or by the machine, a run goes on with
    --resume.

    \b
      abdoseg train --data FLARE22/
      abdoseg train --data Task03_Liver/ --labels msd-liver --organs liver --time-budget 2h
      abdoseg train --recipe organs --data FLARE22/ --healthy-liver FLARE22/ --data mine.csv
      abdoseg train --data FLARE22/ --recipe unetplusplus,manet,deeplabv3plus,default --time-budget 20m
      abdoseg train --data mine.csv --from organs --learning-rate 3e-4 --epochs 10
      abdoseg train --data FLARE22.zip --data more.csv --weight 1 --weight 2 --folds 5
      torchrun --nproc-per-node 4 -m abdoseg train --data FLARE22/
    """
    tune_process()
    from abdoseg.model.device import pick_device
    from abdoseg.training.distributed import joined

    _check(given)
    with joined(given.device) as world:
        talk = Talk(given.quiet or not world.leads)
        where = world.own_device(pick_device(given.device))
        _set_torch_up(given)
        if len(given.recipes) > 1:
            _compare(given, where, world, talk)
        else:
            _run(given, where, world, talk)


def _compare(given: TrainOptions, where: torch.device, world: World, talk: Talk) -> None:
    """Trains several recipes on one split, one after another; says their table and prints the page's path.

    With --resume a finished run is not repeated.
    """
    from abdoseg.training.experiments.comparison import COMPARISON, read_result, text_table, write_comparison
    from abdoseg.training.experiments.runs import SCORES, SPLIT, forget_runs
    from abdoseg.training.fit import CHECKPOINT

    folders = [given.run / Path(name).stem for name in given.recipes]
    begun = [folder for folder in folders if (folder / CHECKPOINT).is_file()]
    if given.resume and begun:
        _check_begun(given, begun[0])
    elif world.leads and not given.dry_run:
        forget_runs(begun)
    chosen = given
    for name, folder in zip(given.recipes, folders, strict=True):
        if given.resume and (folder / SCORES).is_file():
            chosen = replace(given, val_cases=(), split_file=folder / SPLIT)
        else:
            resume = given.resume and (folder / CHECKPOINT).is_file()
            split = _run(replace(chosen, recipe=name, run=folder, resume=resume), where, world, talk)
            chosen = replace(given, val_cases=split.validate, split_file=None, validation_fraction=0.0)
    if given.dry_run or not world.leads:
        return
    results = [read_result(folder) for folder in folders]
    write_comparison(given.run, results, shlex.join(["abdoseg", *sys.argv[1:]]))
    talk.say(text_table(results))
    click.echo(given.run / f"{COMPARISON}.html")


def _run(given: TrainOptions, where: torch.device, world: World, talk: Talk) -> Split:
    """Trains one recipe as the flags say; returns its split. Raises Abort when it was told to stop."""
    from abdoseg.training.batch_size import auto_batch
    from abdoseg.training.experiments.runs import Experiment
    from abdoseg.training.fit import RunOptions
    from abdoseg.training.schedule import RunLimits

    kept = _kept_recipe(given) if given.resume else None  # before the leading process writes anything
    if given.resume and not kept:
        talk.say(f"{given.run}: there is no run yet to be resumed; beginning one")
    if kept and kept.parent != given.run:
        _check_begun(given, kept.parent)
    data, config = _gather(kept, _recipe(kept, given), given, talk, world)
    if given.batch == "auto":
        config = auto_batch(config, where, world, scale_rate=given.learning_rate is None)
    split = _split(kept, data, config, given)
    if not given.curve:
        talk.say(f"{len(split.train)} cases train, {len(split.validate)} validate ({split.how})")
        if not split.validate:
            talk.warn("no case validates: nothing will say how good the weights are, and the last ones are kept")
        elif unjudged := [organ for organ in config.output_organs if not data.shows(split.validate, organ)]:
            talk.warn(
                f"no case that validates shows {', '.join(unjudged)}: best.safetensors is chosen by the other organs; "
                "compare it with last.safetensors, or name other cases with --val-cases"
            )
    if given.dry_run:
        talk.say(f"validate: {', '.join(split.validate) or 'none'}")
        if world.leads:
            talk.say(f"labels as they were understood: {_picture(data, split, given.cache)}")
        return split
    with stop_on_signals(talk, "stopping after this step; go on with --resume") as stop, ExitStack() as tables:
        limits = RunLimits(given.time_budget, given.early_stopping, stop)
        workers = None if given.workers == "auto" else given.workers
        run_options = RunOptions(where, given.resume, given.warm_start, limits, workers, given.encoder_weights)
        command = shlex.join(["abdoseg", *sys.argv[1:]])
        experiment = Experiment(data, config, run_options, command, _watchers(talk, tables), world)
        _train(experiment, split, given, talk)
    if stop():
        raise click.Abort
    return split


def _picture(data: TrainingData, split: Split, folder: Path) -> Path:
    """A picture of one case with the contours of its labels, in the folder of the cache."""
    from abdoseg.runtime.files import writing
    from abdoseg.training.experiments.curves import draw_labels

    case = data.cache.by_name[(*split.validate, *split.train)[0]]
    path = folder / f"{case.case}.png"
    with writing(path, overwrite=True) as temporary:
        draw_labels(case).save(temporary)
    return path


def _check(given: TrainOptions) -> None:
    """Refuses what contradicts itself, before any work."""
    from abdoseg.errors import OutputError
    from abdoseg.training.fit import CHECKPOINT

    choices = {"--val-cases": given.val_cases, "--split": given.split_file, "--folds": given.folds}
    chosen = [flag for flag, value in choices.items() if value]
    several = len(given.recipes) > 1
    folders = {Path(name).stem for name in given.recipes}
    contradictions = {
        "--overwrite begins anew, --resume goes on; give one": given.overwrite and given.resume,
        "--recipe names one twice; each has a folder of its own": len(folders) < len(given.recipes),
        "several --recipe have their own runs; leave --folds and --learning-curve out": several
        and (given.folds or given.curve),
        "several --recipe are several networks; leave --from out": several and given.warm_start,
        "--from has its own encoder; leave --encoder-weights out": given.warm_start and given.encoder_weights,
        f"{' and '.join(chosen)} both choose the validation cases; give one": len(chosen) > 1,
        "--val is no fraction from 0 to 0.9": not 0 <= given.validation_fraction <= 0.9,
        "--fold says which of --folds; give both": given.fold and not given.folds,
        f"there is no --fold {given.fold} of {given.folds}": (given.fold or 0) > (given.folds or 0) > 0,
        "--learning-curve has its own runs; leave --folds out": given.curve and given.folds,
        "a --time-budget follows the clock, which is not --deterministic; give --epochs": given.deterministic
        and given.time_budget,
    }
    for message, contradicts in contradictions.items():
        if contradicts:
            raise click.UsageError(message)
    found = next(given.run.rglob(CHECKPOINT), None)
    if found and not (given.resume or given.overwrite or given.dry_run):
        raise OutputError(f"{found.parent}: holds a run already; --resume it, --overwrite it, or name another with -o")


def _check_begun(given: TrainOptions, begun: Path) -> None:
    """Refuses to go on with several runs otherwise than the first of them began. Raises UsageError."""
    from abdoseg.training.checkpoint import read_progress
    from abdoseg.training.fit import CHECKPOINT

    if not (begun / CHECKPOINT).is_file():
        return
    extra = read_progress(begun / CHECKPOINT).extra
    limits = extra.get("limits", {})
    began = {
        "--from": (extra.get("warm_start"), given.warm_start),
        "--encoder-weights": (extra.get("encoder_weights"), given.encoder_weights),
        "--time-budget": (limits.get("time_budget_s"), given.time_budget or given.epochs),
        "--early-stopping": (limits.get("early_stopping"), given.early_stopping),
    }
    missing = [flag for flag, (then, now) in began.items() if then and not now]
    if missing:
        raise click.UsageError(
            f"{begun}: the first run began with {' and '.join(missing)}, and those to come need the same; "
            "give it again, or name another folder with -o"
        )


def _set_torch_up(given: TrainOptions) -> None:
    """Threads, and whether two runs are to be the same."""
    import torch

    from abdoseg.runtime.threads import use_cores

    use_cores(given.threads)
    if given.threads:
        torch.set_num_threads(given.threads)
    if given.deterministic:
        torch.use_deterministic_algorithms(True)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # older versions refuse to multiply on CUDA without
        torch.backends.cudnn.benchmark = False


def _recipe(kept: Path | None, given: TrainOptions) -> TrainingConfig:
    """The recipe, with the fields that flags replace. Weights to begin with bring their network, organs and grid.

    Of a run that is resumed it is the run's own. Raises UsageError for what cannot change any more.
    """
    from abdoseg.model.weights import load_model
    from abdoseg.training.recipes import check_recipe, find_recipe

    changed = given.recipe_changes()
    if kept:
        recipe = find_recipe(kept)
        wanted = find_recipe(given.recipe) if given.recipe else recipe
        lasting = ("network", "spacing_mm", "patch", "window_hu", "scaled_to")
        others = [name for name in lasting if getattr(wanted, name) != getattr(recipe, name)]
        if changed.pop("seed", recipe.seed) != recipe.seed:
            others.append("seed")
        if others:
            raise click.UsageError(
                f"{given.run}: the run began with another {' and '.join(others)} (see {kept}); leave --recipe and "
                "--seed out to go on with it, or name another folder with -o"
            )
        own = ("organs", "output_organs", "class_weights", "seed")
        recipe = replace(wanted, **{name: getattr(recipe, name) for name in own}, **changed)
        check_recipe(recipe)
        return recipe
    recipe = find_recipe(given.recipe or "default")
    if given.warm_start:
        if given.recipe:
            recipe = replace(recipe, progressive=())
        else:
            recipe = recipe.for_weights(load_model(given.warm_start, "cpu").plan)
    elif recipe.frozen_statistics:
        raise click.UsageError(f"{given.recipe}: frozen_statistics keeps those of other weights; name them with --from")
    recipe = replace(recipe, **changed)
    check_recipe(recipe)
    return recipe


def _kept_recipe(given: TrainOptions) -> Path | None:
    """The recipe of the run in a folder, or of its first fold or point; None when there is no run yet."""
    if given.curve:
        return min(
            given.run.glob("cases*-seed*/recipe.json"),
            key=lambda path: int(path.parent.name.split("seed")[1]),
            default=None,
        )
    places = [given.run, *(sorted(given.run.glob("fold*")) if given.folds else ())]
    return next((place / "recipe.json" for place in places if (place / "recipe.json").is_file()), None)


def _gather(
    kept: Path | None, config: TrainingConfig, given: TrainOptions, talk: Talk, world: World
) -> tuple[TrainingData, TrainingConfig]:
    """The data, packed and shown, and the recipe for the organs that it can teach."""
    from abdoseg.training.data.collect import adapt_recipe, collect_datasets

    if not world.leads:
        world.wait()  # the leading process packs, the others find it packed
    data = collect_datasets(given.requests(), config, given.cache, keep_going=given.keep_going, realign=given.realign)
    if world.leads:
        world.wait()
    show_training_data(data, talk)
    learnt = adapt_recipe(config, data.cache, given.organs)
    if kept and (learnt.organs, learnt.output_organs) != (config.organs, config.output_organs):
        raise click.UsageError(
            f"{given.run}: the run learns {', '.join(config.organs)}, not {', '.join(learnt.organs)}; leave --organs "
            "out and give the same --data to go on with it, or name another folder with -o"
        )
    dropped = [organ for organ in config.organs if organ not in learnt.organs]
    if dropped and not given.organs:
        talk.warn(f"no case is annotated for {', '.join(dropped)}: not learnt")
    return data, learnt


def _split(kept: Path | None, data: TrainingData, config: TrainingConfig, given: TrainOptions) -> Split:
    """Which cases train and which validate, as the flags say; those of a run that is resumed stay.

    Raises UsageError when the flags say otherwise.
    """
    from abdoseg.training.data import splits
    from abdoseg.training.experiments.runs import SPLIT, completed

    began = kept is not None and (given.run / SPLIT).is_file()
    if not began or not data.scans() or given.folds or given.curve:
        return completed(data, _chosen(data.scans(), config, given))
    split = splits.from_run(data.scans(), given.run / SPLIT)
    if given.val_cases or given.split_file:
        wanted = _chosen(data.scans(), config, given)
        if wanted.validate != split.validate:
            raise click.UsageError(
                f"{given.run}: the run validates on {', '.join(split.validate)}, and has trained on the others; leave "
                "--val-cases and --split out to go on with it, or name another folder with -o"
            )
    return completed(data, split)


def _chosen(scans: dict[str, str], config: TrainingConfig, given: TrainOptions) -> Split:
    """The scans' split."""
    from abdoseg.training.data import splits

    if given.val_cases:
        return splits.by_names(scans, given.val_cases)
    if given.split_file:
        return splits.by_file(scans, given.split_file)
    if given.folds:
        return splits.by_fold(scans, given.folds, given.fold or 1, config.seed)
    if scans:
        return splits.by_fraction(scans, given.validation_fraction, config.seed)
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


def _train(experiment: Experiment, split: Split, given: TrainOptions, talk: Talk) -> None:
    """Runs what was asked for, says how it went, and prints the weights' path."""
    from abdoseg.training.experiments.model_card import summarise
    from abdoseg.training.experiments.runs import cross_validate, learning_curve, train_once

    if given.curve:
        for point in learning_curve(experiment, split, given.curve, given.seeds, given.run):
            talk.say(point.text)
        return
    if given.folds and not given.fold:
        rows = cross_validate(experiment, given.folds, given.run)
        weights = sorted(given.run.glob("fold*/best.safetensors"))
    else:
        result = train_once(experiment, split, given.run)
        rows, weights = list(result.rows), [result.fit.weights]
        if result.fit.ended == "early stopping":
            talk.say(f"no better epoch for long enough: ended at step {result.fit.progress.step}")
    for organ, mean in summarise(rows).items():
        talk.say(f"{organ}: Dice {mean.dice:.3f} (sd {mean.dice_sd:.3f}), NSD {mean.nsd:.3f}, {mean.cases} cases")
    if experiment.world.leads:
        for path in weights:
            click.echo(path)
