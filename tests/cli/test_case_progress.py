"""Progress over many cases, in words."""

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
