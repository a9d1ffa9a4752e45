"""Cores that may be used, and memory that was."""

import os

import pytest

from abdoseg import machine


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


def test_peak_memory_counts_what_is_held():
    before = machine.peak_memory()
    held = bytearray(before + 2**26)
    held[:: 2**12] = b"1" * len(held[:: 2**12])
    assert machine.peak_memory() > before
