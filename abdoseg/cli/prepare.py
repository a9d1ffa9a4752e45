"""abdoseg prepare: packs datasets once, so that training needs neither the scans nor their readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from abdoseg.cli import options
from abdoseg.cli.console import Talk
from abdoseg.cli.data_options import data_options, dataset_requests, show_training_data
from abdoseg.cli.former_flags import FormerFlags


@click.command(cls=FormerFlags, former={"--painted": "--synthetic"})
@data_options
@click.option("--recipe", default="default", show_default=True, help="The recipe whose grid the data is packed for.")
@click.option("--synthetic", type=click.FloatRange(0, 1), default=0.0, show_default=True,
              help="Above 0: pack what is needed to synthesise scans from the labels too.")  # fmt: skip
@options.quiet
def prepare(recipe: str, synthetic: float, cache: Path, quiet: bool, **flags: Any) -> None:
    """Pack datasets into a cache of resampled arrays, and say what is in them.

    Train from it with `--data CACHE/NAME`, on this machine or another: torch and numpy suffice there.
    Prints the folders on stdout.
    """
    from dataclasses import replace

    from abdoseg.training.data.collect import collect_datasets
    from abdoseg.training.recipes import find_recipe

    talk = Talk(quiet)
    config = find_recipe(recipe)
    config = replace(config, synthetic=max(synthetic, config.synthetic))
    data = collect_datasets(
        dataset_requests(flags), config, cache, keep_going=flags["keep_going"], realign=flags["realign"]
    )
    show_training_data(data, talk)
    for folder in dict.fromkeys(case.folder for case in data.cache.cases):
        click.echo(folder)
