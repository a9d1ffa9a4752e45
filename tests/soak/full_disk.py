"""Fills the disk under every command: python tests/soak/full_disk.py --steps 40 [--only segment] [--limit-files]

A command runs on a disk of a few MB (tmpfs, which root may mount) that is full at another place of its output each
time, or with --limit-files under a limit on the size of files (ulimit -f). It must end with exit code 8 and one line
that names the file, what is wrong and what to do; no file may be half-written or temporary, and what is there must be
what it is on a large disk. Called again when there is room, it must end as if there had been room before.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from soak_runs import (
    Command,
    arguments,
    as_words,
    check_whole,
    content,
    differences,
    ended,
    files_of,
    hidden,
    import_all,
    log_text,
    make_commands,
    start,
)

PAGE = 4096
LEAST_LIMIT = 3000  # bytes a file may have at least, for what a command says
FULL = "the disk is full; free some space or name another folder"
TOO_LARGE = "larger than the file system, or a limit on files (ulimit -f), allows; name another folder"
UNTOLD = "cannot be written: "  # where ITK does not say why
# What sums up, and differs where less was done.
OF_ALL = (
    "ledger.jsonl", "cohort.csv", "index.html", "volumes_long.csv", "volumes_wide.csv", "manifest.json", "log.csv",
    "curves.svg", "metrics.svg", "checkpoint.safetensors", "best.safetensors", "last.safetensors", "case3.png",
)  # fmt: skip


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Mounts a disk of so many bytes on the folder. Raises CalledProcessError where that is not allowed."""
    mount("-t", "tmpfs", "-o", f"size={size}", "none", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


def filled(command: Command, folder: Path) -> Path:
    """The folder with what a command finds there."""
    folder.mkdir(exist_ok=True)
    if command.prepared:
        shutil.copytree(command.prepared, folder / "out")
    return folder


def pages(folder: Path) -> int:
    """The bytes that a folder's files take on a disk of pages."""
    return PAGE * sum(-(-path.stat().st_size // PAGE) for path in files_of(folder).values())


def check(folder: Path, reference: Path, code: int, words: str) -> list[str]:
    """What is wrong after a command that was refused room."""
    text = log_text(folder)
    found = [*check_whole(folder), *(f"a temporary file is left: {name}" for name in hidden(list(files_of(folder))))]
    if code != 8 or "Traceback" in text or not (words in text or (words == TOO_LARGE and UNTOLD in text)):
        found.append(f"exit code {code}: {text[-1500:]}")
    theirs = files_of(reference)
    found += [
        f"{name}: other bytes"
        for name, path in files_of(folder).items()
        if path.name not in (*OF_ALL, *hidden([name]))
        and (name not in theirs or content(path) != content(theirs[name]))
    ]
    return found


def on_small_disks(command: Command, work: Path, reference: Path, steps: int) -> Iterator[tuple[str, list[str]]]:
    """Runs a command on disks of several sizes; for each that was too small what was wrong."""
    before = pages(command.prepared) if command.prepared else 0
    whole = pages(reference) - before
    for size in sorted({before + max(PAGE, int(whole * (step + 0.5) / steps) // PAGE * PAGE) for step in range(steps)}):
        folder = work / f"disk-{size}"
        folder.mkdir()
        with small_disk(folder, size):
            filled(command, folder)
            code = ended(start(command.words, folder))
            if code == 0:
                continue
            found = check(folder, reference, code, FULL)
            text = log_text(folder).strip().splitlines()
            mount("-o", "remount,size=64M", str(folder))
            code = ended(start(command.again, folder))
            if code:
                found.append(f"again, with room: exit code {code}: {log_text(folder)[-1500:]}")
            found += [f"again, with room: {wrong}" for wrong in differences(folder, reference)]
            yield f"a disk of {size} bytes: {text[-1] if text else ''}", found


def under_limits(command: Command, work: Path, reference: Path, steps: int) -> Iterator[tuple[str, list[str]]]:
    """Runs a command under several limits on the size of a file; for each what was wrong."""
    sizes = sorted({path.stat().st_size for path in files_of(reference).values()})
    limits = [size - 1 for size in sizes if size > LEAST_LIMIT and (not command.prepared or size > 8000)]
    for limit in limits[:: max(1, len(limits) // steps)][:steps]:
        folder = filled(command, work / f"limit-{limit}")
        limited = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))
        code = ended(start(command.words, folder, limited))
        yield f"files of at most {limit} bytes", check(folder, reference, code, TOO_LARGE)


Trial = Callable[[Command, Path, Path, int], Iterator[tuple[str, list[str]]]]


def run(name: str, command: Command, work: Path, trial: Trial, steps: int, verbose: bool = False) -> int:
    """Prints what was found of a command, and gives its number."""
    reference = filled(command, work / name / "reference")
    code = ended(start(command.words, reference))
    if code or (wrong := check_whole(reference)):
        print(f"{name}: FINDING with room, exit code {code}: {wrong if not code else log_text(reference)[-2000:]}")
        return 1
    findings = tried = 0
    for where, found in trial(command, work / name, reference, steps):
        tried += 1
        findings += len(found)
        if verbose:
            print(f"{name}, {where}")
        for text in found:
            print(f"{name}, {where}: FINDING {text}", flush=True)
    print(f"{as_words(command.words[:1])}: {tried} times without room; {findings} findings", flush=True)
    return findings if tried else 1


def main(words: Sequence[str] | None = None) -> int:
    switches = [(name, {"action": "store_true"}) for name in ("--limit-files", "--verbose")]
    args = arguments(__doc__, ("--steps", {"type": int, "default": 40}), ("--only", {}), *switches).parse_args(words)
    import_all()
    trial = under_limits if args.limit_files else on_small_disks
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        commands = make_commands(work / "data", args.light)
        for name in commands:
            (work / name).mkdir()
        chosen = [args.only] if args.only else list(commands)
        findings = sum(run(name, commands[name], work, trial, args.steps, args.verbose) for name in chosen)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
