"""Prefetch: batches in order, from threads with streams of their own (of a pretended GPU) or from worker processes."""

import multiprocessing
import os
import signal
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny import RECIPE, packed

from abdoseg.errors import DatasetError, ResourceError
from abdoseg.training import prefetch as module
from abdoseg.training.augment.sampler import Sampler
from abdoseg.training.prefetch import THREADS, auto_workers, prefetch

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Stream:
    """A stream that knows what was drawn on it, and how much of that was waited for."""

    def __init__(self, device=None):
        self.drawn, self.finished = [], []

    def synchronize(self):
        self.finished = list(self.drawn)


class Drawn:
    def __init__(self, step, stream):
        self.step, self.stream, self.user = step, stream, None
        stream.drawn.append(step)

    def used_by(self, stream):
        self.user = stream


def test_batches_come_in_order_from_the_step_on():
    sampler = SimpleNamespace(device=torch.device("cpu"), batch=lambda step: step)
    with prefetch(sampler, 7) as batches:
        assert [next(batches) for _ in range(5)] == [7, 8, 9, 10, 11]


def test_on_a_gpu_a_batch_is_finished_on_its_workers_own_stream_and_bound_to_the_one_that_trains(monkeypatch):
    training, thread = Stream(), threading.local()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: setattr(thread, "stream", stream))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: getattr(thread, "stream", training))
    sampler = SimpleNamespace(
        device=torch.device("cuda"), batch=lambda step: Drawn(step, torch.cuda.current_stream(None))
    )
    with prefetch(sampler, 3) as batches:
        taken = [next(batches) for _ in range(9)]
    assert [batch.step for batch in taken] == list(range(3, 12))
    assert all(batch.step in batch.stream.finished and batch.user is training for batch in taken)
    assert training.drawn == [] and 1 <= len({id(batch.stream) for batch in taken}) <= THREADS


@pytest.fixture
def sampler(tmp_path):
    return Sampler(packed(tmp_path), ["case0", "case1"], RECIPE)


def same(batch, other) -> bool:
    return all(torch.equal(getattr(batch, n), getattr(other, n)) for n in ("image", "target", "annotated"))


def test_processes_draw_the_same_batches_in_the_same_order_and_end_with_the_run(sampler):
    with prefetch(sampler, 3, workers=2) as batches:
        assert all(same(next(batches), sampler.batch(step)) for step in (3, 4))  # both have begun
        processes = multiprocessing.active_children()
        for process in processes:
            os.kill(process.pid, signal.SIGINT)  # as Ctrl-C does; the run goes on until it has saved
        assert all(same(next(batches), sampler.batch(step)) for step in range(5, 11))
        assert len(processes) == 2 and all(process.is_alive() for process in processes)
    for process in processes:
        process.join(10)
    assert not any(process.is_alive() for process in processes)


def test_what_a_process_fails_of_is_raised_where_the_network_trains(sampler, tmp_path):
    for path in tmp_path.glob("*.image.npy"):
        path.unlink()
    with (
        prefetch(sampler, 0, workers=1) as batches,
        pytest.raises(DatasetError, match=r"the cache cannot be read any more .*case\d.image.npy"),
    ):
        next(batches)


def test_a_process_that_has_ended_is_reported_with_a_remedy(sampler):
    before = set(multiprocessing.active_children())
    with prefetch(sampler, 0, workers=1) as batches, pytest.raises(ResourceError, match="fewer --workers, or 0"):
        next(batches)
        (process,) = set(multiprocessing.active_children()) - before
        os.kill(process.pid, signal.SIGKILL)
        for _ in range(9):
            next(batches)


def test_workers_are_for_gpus_and_no_more_than_cores_memory_and_shared_memory_bear(monkeypatch, tmp_path):
    config = replace(RECIPE, patch=(112, 112, 80), batch=16)  # 48 MB a batch as it is sent, three of each process
    monkeypatch.setattr(module, "SHARED_MEMORY", tmp_path)
    given = {"gpu": 80e9, "shared": 64e9}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(given["gpu"]), 0))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: SimpleNamespace(free=int(given["shared"])))
    assert auto_workers(CPU, config, 16) == 0 and auto_workers(torch.device("mps"), config, 16) == 0
    assert auto_workers(CUDA, config, 16) == 14 and auto_workers(CUDA, config, 3) == 0
    given["gpu"] = 12e9
    assert auto_workers(CUDA, config, 16) == 4
    given.update(gpu=80e9, shared=64 * 2**20)  # as containers have it
    assert auto_workers(CUDA, config, 16) == 0
