"""Batches drawn ahead: in order, and on a GPU (here a pretended one) each from a stream that was waited for."""

import threading
from types import SimpleNamespace

import torch

from abdoseg.training.prefetch import WORKERS, prefetch


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
    assert training.drawn == [] and 1 <= len({id(batch.stream) for batch in taken}) <= WORKERS
