"""Command line flags that several commands share, so that a flag means one thing everywhere."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from abdoseg.cli.param_types import complete_scheme
from abdoseg.cli.process import ignore_dicom_warnings, import_torch, tune_process

if TYPE_CHECKING:
    from abdoseg.cohort.found_scan import FoundScan
    from abdoseg.model.weights import Model

F = TypeVar("F", bound=Callable[..., Any])
Filled = TypeVar("Filled")
R = TypeVar("R")

quiet = click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")
overwrite = click.option("--overwrite", is_flag=True, help="Replace outputs that exist; without it they are an error.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
device = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda|cuda:N|mps",
    help="Where the network runs.",
)
threads = click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: all cores]")
model = click.option(
    "--model", "model_names", multiple=True, metavar="FILE|NAME",
    help="Weights; given again, those of one recipe's folds are averaged.  [default: the bundled model]",
)  # fmt: skip
labels = click.option(
    "--labels", "scheme", metavar="SCHEME", default="abdoseg", show_default=True, shell_complete=complete_scheme,
    help="Label numbers: abdoseg, flare22, totalseg, btcv, amos, msd-liver, kits.",
)  # fmt: skip
series = click.option("--series", metavar="N|UID", help="Which CT series, where there are several; see abdoseg info.")
gaps = click.option(
    "--gaps", type=click.Choice(["auto", "fail", "fill", "split"]), default="auto", show_default=True,
    help="Missing slices: refuse, interpolate (up to 15 mm), or take the longest part. auto interpolates, but refuses "
    "where a slice is there and has another matrix, which fill interpolates, too.",
)  # fmt: skip
assume_axes = click.option(
    "--assume-axes", is_flag=True, help="Take a NIfTI that does not name its axes as left, anterior, superior."
)
recorded_labels = click.option(
    "--labels",
    "scheme",
    metavar="SCHEME",
    shell_complete=complete_scheme,
    help="Label numbers: abdoseg, flare22, totalseg, btcv, amos, msd-liver, kits.  [default: by CASE.json or header]",
)
paths = click.argument("paths", nargs=-1, metavar="[PATH]...")
from_file = click.option(
    "--from",
    "from_file",
    metavar="FILE",
    help="Read paths from FILE, one a line, or a table of path, case, series; - is stdin.",
)


def together(*flags: Callable[[Any], Any]) -> Callable[[F], F]:
    """Several flags as one decorator, in the order of --help."""

    def decorate(command: F) -> F:
        for flag in reversed(flags):
            command = flag(command)
        return command

    return decorate


def as_options(kind: type[Filled]) -> Callable[[Callable[[Filled], R]], Callable[..., R]]:
    """Gives a command its flags as one instance of a dataclass, whose fields are named as click names the flags."""

    def decorate(command: Callable[[Filled], R]) -> Callable[..., R]:
        @wraps(command)
        def filled(**flags: Any) -> R:
            return command(kind(**flags))

        return filled

    return decorate


def model_loader(names: Sequence[str], device: str, threads: int | None) -> Callable[[], Model]:
    """Loads the model when it is called: PyTorch takes a second to import, and the first scan is read meanwhile.

    Tunes the process and limits its threads at once.
    """
    from abdoseg.runtime.threads import use_cores

    tune_process()
    use_cores(threads)

    def load() -> Model:
        import_torch()
        import torch

        from abdoseg.model.ensemble import load_models

        if threads:
            torch.set_num_threads(threads)
        return load_models(names, device)

    return load


def worker_loader(names: Sequence[str], device: str, threads: int | None, scheduler: str) -> Callable[[], Model]:
    """Loads the model on a worker of a cluster, and tunes its process. threads: its part of the cores if not given."""
    from abdoseg.runtime.threads import cores

    found = [str(Path(name).absolute()) if Path(name).is_file() else name for name in names]
    workers = scheduler.removeprefix("local:")
    if threads is None and workers.isdigit():
        threads = max(1, cores() // int(workers))

    def load() -> Model:
        ignore_dicom_warnings()
        return model_loader(found, device, threads or cores())()

    return load


def listed_paths(paths: tuple[str, ...], from_file: str | None) -> list[Path]:
    """The paths of `listed_scans`."""
    return [scan if isinstance(scan, Path) else scan.path for scan in listed_scans(paths, from_file)]


def listed_scans(paths: tuple[str, ...], from_file: str | None) -> list[Path | FoundScan]:
    """The paths given as arguments, then those listed in `from_file`; the argument `-` is a list on stdin too.

    A list has a path a line; or columns between commas or tabs, whose first line names them: path, case, series.
    Raises UsageError when there is none, or when the list cannot be read.
    """
    found: list[Path | FoundScan] = []
    for name in (*paths, *([f"@{from_file}"] if from_file else [])):
        if name in ("-", "@-"):
            found += _listed(_from_stdin())
        elif name.startswith("@") and name == f"@{from_file}":
            try:
                found += _listed(Path(name[1:]).read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                raise click.UsageError(f"{name[1:]}: the list of paths cannot be read ({error})") from error
        else:
            found.append(Path(name))
    if not found and ("-" in paths or from_file == "-"):
        raise click.UsageError("stdin names no files; did the command before the pipe fail? Else name files or folders")
    if not found:
        raise click.UsageError("no paths given; name files or folders, or pass - to read a list from stdin")
    return found


def _from_stdin() -> str:
    """A list of paths. Raises UsageError for a file's content, and for JSON."""
    try:
        text = sys.stdin.read().removeprefix("\ufeff")
    except UnicodeDecodeError:
        text = "\x01"  # as strange as what could not be read
    if any(char < " " and char not in "\0\t\r\n" for char in text[:4096]):
        raise click.UsageError("stdin holds no list of paths, but a file's content; name the file itself")
    if text.startswith('{"'):
        raise click.UsageError(
            "stdin holds no list of paths, but JSON; leave out --json in the command before the pipe"
        )
    return text


def _listed(text: str) -> list[Path | FoundScan]:
    separator = "\0" if "\0" in text else "\n"
    lines = [line.strip("\r\n") for line in text.removeprefix("\ufeff").split(separator) if line.strip()]
    for delimiter in "\t,;":
        names = [name.strip().lower() for name in lines[0].split(delimiter)] if lines else []
        if len(names) > 1 and "path" in names:
            return [_row(row) for row in csv.DictReader(lines[1:], names, delimiter=delimiter)]
    return [Path(line) for line in lines]


def _row(row: dict[str, str | None]) -> Path | FoundScan:
    """A scan of a list with columns. A path alone is one like any other: folders are descended."""
    from abdoseg.cohort.found_scan import FoundScan

    path, case, series, member = ((row.get(name) or "").strip() for name in ("path", "case", "series", "member"))
    if not path:
        raise click.UsageError("the list of scans has a line without a path")
    if any(char in case for char in "/\\") or case.startswith("."):
        raise click.UsageError(f"the list of scans has the case {case!r}; a case's name becomes those of its files")
    if not (case or series or member):
        return Path(path)
    return FoundScan(Path(path), Path(path, member), member or None, series or None, case=case or None)
