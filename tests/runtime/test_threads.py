"""Cores that may be used, and memory that was."""

import os

import pytest

from abdoseg.runtime import threads as machine


@pytest.fixture(autouse=True)
def _unlimited():
    machine.use_cores(None)
    yield
    machine.use_cores(None)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_cores_are_those_that_the_scheduler_lets_it_have():
    before = os.sched_getaffinity(0)
    assert machine.cores() == len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert machine.cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_cores_are_no_more_than_was_asked_for():
    there = machine.cores()
    machine.use_cores(1)
    assert machine.cores() == 1
    machine.use_cores(there + 100)
    assert machine.cores() == there


@pytest.mark.parametrize("allowed", [1, 2])
def test_all_cores_do_every_piece_once_and_an_error_comes_out(allowed):
    machine.use_cores(allowed)
    done = []
    machine.on_all_cores(done.append, 7)
    machine.on_all_cores(done.append, 0)
    assert sorted(done) == list(range(7))
    with pytest.raises(ZeroDivisionError):
        machine.on_all_cores(lambda n: 1 // (n - 3), 7)


def test_peak_memory_counts_what_is_held():
    before = machine.peak_memory()
    held = bytearray(before + 2**26)
    held[:: 2**12] = b"1" * len(held[:: 2**12])
    assert machine.peak_memory() > before
