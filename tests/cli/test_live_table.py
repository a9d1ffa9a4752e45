"""Progress of a training without a terminal: a line an epoch, and after 20 s of silence one a step."""

from types import SimpleNamespace

import pytest

from abdoseg.cli import live_table
from abdoseg.cli.console import Talk
from abdoseg.cli.live_table import LiveTable
from abdoseg.training.checkpoint import Progress
from abdoseg.training.history import Epoch


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(s=100.0)
    monkeypatch.setattr(live_table, "time", SimpleNamespace(monotonic=lambda: now.s))
    return now


def test_without_a_terminal_no_more_than_thirty_seconds_pass_without_a_line(clock, capsys):
    table = LiveTable(Talk(), ["liver"])
    for step in range(1, 11):
        clock.s += 9.0
        table.stepped(Progress(step=step), step / 100, 0.5)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["3", "6", "9"]
    assert lines[0] == "step 3 loss 0.5000 3% (21m49s left)"


def test_an_epochs_line_counts_as_one(clock, capsys):
    table = LiveTable(Talk(), ["liver"])
    clock.s += 19.0
    table.stepped(Progress(step=1), 0.1, 0.5)
    table.epoch_done([Epoch(step=1, seconds=19.0, loss=0.5, learning_rate=1e-3, dice={"liver": 0.8})])
    clock.s += 19.0
    table.stepped(Progress(step=2), 0.2, 0.5)
    assert capsys.readouterr().err.splitlines() == ["epoch 1 step 1 19 s loss 0.5000 liver 0.800 (time left unknown)"]
