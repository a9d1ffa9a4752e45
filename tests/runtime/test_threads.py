"""Cores that may be used, and work spread over them."""

import os

import pytest

from abdoseg.runtime import threads


@pytest.fixture(autouse=True)
def _unlimited():
    threads.use_cores(None)
    yield
    threads.use_cores(None)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_cores_are_those_that_the_scheduler_lets_it_have():
    before = os.sched_getaffinity(0)
    assert threads.cores() == len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert threads.cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_cores_are_no_more_than_was_asked_for():
    there = threads.cores()
    threads.use_cores(1)
    assert threads.cores() == 1
    threads.use_cores(there + 100)
    assert threads.cores() == there


@pytest.mark.parametrize("allowed", [1, 2])
def test_all_cores_do_every_piece_once_and_an_error_comes_out(allowed):
    threads.use_cores(allowed)
    done = []
    threads.on_all_cores(done.append, 7)
    threads.on_all_cores(done.append, 0)
    assert sorted(done) == list(range(7))
    with pytest.raises(ZeroDivisionError):
        threads.on_all_cores(lambda n: 1 // (n - 3), 7)
