"""Kills runs at random moments: python tests/soak/kill_runs.py --kills 50 [--seed 0] [--only segment]

Phantom scans are segmented, exported and trained on, and each run is ended by SIGKILL at a random moment. Then no file
under a final name may be half-written. Called again as a user would (--resume; export with --overwrite), perhaps to be
killed again, the run must end with the bytes of one that was never killed, but for what `soak_runs.content` leaves
out, and with no temporary file beside them.
"""

from __future__ import annotations

import random
import shutil
import sys
import time
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
    killed_after,
    log_text,
    soak,
    start,
)

KILLED_AGAIN = 0.4  # of the runs after a kill


def one_run(command: Command, folder: Path, reference: Path, longest_s: float, rng: random.Random) -> tuple[int, list]:
    """Runs a command in `folder` until it ends, with kills between; how many, and what was wrong."""
    folder.mkdir()
    words, kills, found = command.words, 0, []
    while not kills or rng.random() < KILLED_AGAIN:
        after = rng.uniform(0, longest_s)
        if killed_after(start(words, folder), after):
            kills += 1
            found += [f"after a kill at {after:.2f} s: {wrong}" for wrong in check_whole(folder)]
        elif not kills:
            shutil.rmtree(folder)
            folder.mkdir()
            continue
        words = command.again
    code = ended(start(words, folder))
    if code or "Traceback" in log_text(folder):
        found.append(f"the last run ended with {code}: {log_text(folder)[-800:]}")
    found += [f"at the end: {wrong}" for wrong in check_whole(folder)]
    found += [f"a temporary file is left: {name}" for name in hidden(list(files_of(folder)))]
    found += [f"at the end: {wrong}" for wrong in differences(folder, reference)]
    return kills, found


def run(name: str, command: Command, work: Path, kills: int, seed: int) -> int:
    """Kills runs of a command so many times; prints what was found and gives its number."""
    reference = work / name
    reference.mkdir()
    begun = time.monotonic()
    code = ended(start(command.words, reference))
    longest_s = time.monotonic() - begun
    wrong = [*check_whole(reference), *hidden(list(files_of(reference)))]
    if code or wrong:
        print(f"{name}: FINDING without a kill, exit code {code}: {wrong} {log_text(reference)[-2000:]}")
        return 1
    done = findings = number = 0
    while done < kills:
        folder = work / f"{name}-{number}"
        more, found = one_run(command, folder, reference, longest_s, random.Random(f"{seed}-{name}-{number}"))
        for text in found:
            print(f"{name} {number}: FINDING {text}", flush=True)
        findings += len(found)
        done, number = done + more, number + 1
        shutil.rmtree(folder)
    files = len(files_of(reference))
    print(f"{name}: {done} kills in {number} runs of {longest_s:.1f} s, {files} files each; {findings} findings")
    return findings


def main(words: Sequence[str] | None = None) -> int:
    return soak(__doc__, "--kills", 50, run, words)


if __name__ == "__main__":
    sys.exit(main())
