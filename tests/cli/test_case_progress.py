"""Progress over many cases, in words."""

import os
import subprocess
import sys
import time

import pytest

from abdoseg.cli.case_progress import CaseProgress
from abdoseg.cli.console import Talk, duration


def test_the_bar_says_how_many_are_done_and_how_long_it_still_takes(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = CaseProgress(300, "auto", Talk())
    assert progress.text() == "0 of 300"
    now = 12.0
    for n in range(12):
        progress.advance(str(n), failed=n == 3)
    assert progress.text() == "12 of 300, 1 failed, 5 min left"


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (240, "4 min"), (9000, "2.5 h")])
def test_durations_are_reported_as_people_say_them(seconds, words):
    assert duration(seconds) == words


IN_A_TERMINAL = """
from abdoseg.cli.case_progress import CaseProgress
from abdoseg.cli.console import Talk, echo_data

talk = Talk()
with CaseProgress(3, "auto", talk) as progress:
    progress.advance("a", failed=False)
    talk.warn("look " + 200 * "x")
    echo_data("out/a.json")
"""


@pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX")
@pytest.mark.parametrize("data", ["terminal", "pipe"])
def test_what_is_written_beside_a_bar_stands_on_lines_of_its_own_and_data_stay_on_stdout(data):
    ours, theirs = os.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    stdout = theirs if data == "terminal" else subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL], stdin=theirs, stdout=stdout, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        while piece := _read(ours):
            shown += piece
        piped = b"" if process.stdout is None else process.stdout.read()
    os.close(ours)
    erase = b"\r\x1b[2K"
    assert erase + b"warning: look " + 200 * b"x" + b"\r\n" in shown
    if data == "terminal":
        assert erase + b"out/a.json\r\n" in shown
    else:
        assert piped == b"out/a.json\n" and b"out/a.json" not in shown


def _read(terminal):
    """What a terminal shows; nothing after its last program has gone, which Linux calls an error."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""
