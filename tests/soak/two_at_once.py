"""Starts a command twice on one output folder: python tests/soak/two_at_once.py --pairs 20 [--seed 0] [--only segment]

The second starts while the first runs. Each must end well, or be told that the other writes there; afterwards the
folder must hold what one run alone leaves. As they are first called, and as they are called again (--resume; export
with --overwrite).
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from soak_runs import (
    WRITERS,
    Command,
    check_whole,
    differences,
    ended,
    files_of,
    hidden,
    import_all,
    make_commands,
    start,
    told,
)

TABLES = ("out/volumes_long.csv", "out/volumes_wide.csv")
TOLD = ("exists already", "another run has written this case", "trains here", "holds a run already")


def one_pair(calls: Sequence[Sequence[str]], folder: Path, reference: Path, delay_s: float) -> tuple[str, list[str]]:
    """Two calls at once, which log apart: how they ended, and what was wrong."""
    folder.mkdir()
    (folder / "out").mkdir()
    places = []
    for number in range(2):
        place = folder.with_name(f"{folder.name}-{number}")
        place.mkdir()
        (place / "out").symlink_to(folder / "out")
        places.append(place)
    processes = []
    for words, place in zip(calls, places, strict=True):
        processes.append(start(words, place))
        time.sleep(delay_s)
    codes = [ended(process) for process in processes]
    found = []
    for code, place in zip(codes, places, strict=True):
        said = told(place)
        if "Traceback" in said or code not in (0, 8) or (code == 8 and not any(words in said for words in TOLD)):
            found.append(f"exit code {code}: {said[-1500:]}")
    found += check_whole(folder) + [f"left: {name}" for name in hidden(list(files_of(folder)))]
    apart = TABLES if 0 not in codes and calls[0][0] == "export" else ()  # of the cases that each of them wrote
    found += [wrong for wrong in differences(folder, reference) if not wrong.startswith(apart or ("-",))]
    return f"{codes[0]}, {codes[1]}", found


def run(name: str, command: Command, work: Path, pairs: int, seed: int) -> int:
    """Prints what was found of a command, and gives its number."""
    reference = work / name
    reference.mkdir()
    begun = time.monotonic()
    if code := ended(start(command.words, reference)):
        print(f"{name}: FINDING alone, exit code {code}: {told(reference)[-2000:]}")
        return 1
    longest_s = time.monotonic() - begun
    calls = {"": command.words, " again": command.again}
    findings = 0
    for flags, words in calls.items():
        rng, outcomes = random.Random(f"{seed}-{name}"), Counter[str]()
        for number in range(pairs):
            folder = work / f"{name}{flags.strip()}-{number}"
            outcome, found = one_pair([words, words], folder, reference, rng.uniform(0, longest_s))
            outcomes[outcome] += 1
            for text in found:
                print(f"{name}{flags} {number}: FINDING {text}", flush=True)
            findings += len(found)
            for place in work.glob(f"{folder.name}*"):
                shutil.rmtree(place, ignore_errors=True)
        print(f"{name}{flags}: exit codes of {pairs} pairs: {dict(outcomes)}", flush=True)
    return findings


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=WRITERS)
    parser.add_argument("--light", action="store_true", help="fewer cases, formats and epochs")
    args = parser.parse_args(words)
    import_all()
    with tempfile.TemporaryDirectory() as folder:
        commands = make_commands(Path(folder) / "data", args.light)
        chosen = [args.only] if args.only else WRITERS
        findings = sum(run(name, commands[name], Path(folder), args.pairs, args.seed) for name in chosen)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
