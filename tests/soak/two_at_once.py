"""Starts a command twice on one output folder: python tests/soak/two_at_once.py --pairs 20 [--seed 0] [--only segment]

The second starts while the first runs. Each must end well, or be told that the other writes there; afterwards the
folder must hold what one run alone leaves. As they are first called, and as they are called again (--resume; export
with --overwrite).
"""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from soak_runs import (
    Command,
    check_whole,
    differences,
    ended,
    files_of,
    hidden,
    log_text,
    soak,
    start,
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
        text = log_text(place)
        if "Traceback" in text or code not in (0, 8) or (code == 8 and not any(words in text for words in TOLD)):
            found.append(f"exit code {code}: {text[-1500:]}")
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
        print(f"{name}: FINDING alone, exit code {code}: {log_text(reference)[-2000:]}")
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
    return soak(__doc__, "--pairs", 20, run, words)


if __name__ == "__main__":
    sys.exit(main())
