"""Two processes as torchrun starts them, gloo on CPU: one run, the same weights, and a message when one dies."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import RECIPE, flare, packed

from abdoseg.errors import ResourceError, TrainingError
from abdoseg.training.augment.sampler import Sampler
from abdoseg.training.distributed import joined

WORKER = """
import os, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {here!r})
import torch
torch.set_num_threads(1)
from tiny import RECIPE, packed
from abdoseg.errors import TrainingError
from abdoseg.training import fit
from abdoseg.training.distributed import joined

root, rank = Path({root!r}), int(os.environ["RANK"])
kept, seen = [], []
update_ema, loss = fit.update_ema, fit.mixed_loss
fit.update_ema = lambda ema, network, decay, step: (kept.append(network), update_ema(ema, network, decay, step))
fit.mixed_loss = lambda logits, target, *rest: (seen.append(target), loss(logits, target, *rest))[1]

class Death:
    def stepped(self, progress, fraction, value):
        if rank == 1:
            os._exit(7)
    def epoch_done(self, epochs):
        pass

cache = packed(root / f"cache{{rank}}")
config = replace(RECIPE, network={{**RECIPE.network, "norm": "none"}}, epochs=2)
split = fit.TrainingSplit(cache, ("case0", "case1"), ("case2",))
options = fit.RunOptions(torch.device("cpu"))
with joined("cpu") as world:
    fit.fit(split, config, root / "run", options, (), world)
(root / f"rank{{rank}}.txt").write_text(fit.digest_of(dict(kept[-1].named_parameters())))
(root / f"seen{{rank}}.bin").write_bytes(torch.stack(seen).to(torch.uint8).numpy().tobytes())
os.environ["MASTER_PORT"] = {second!r}
try:
    with joined("cpu") as world:
        fit.fit(split, config, root / "dead", options, [Death()], world)
except TrainingError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def two_processes(words: list[str], folder: Path, port: int) -> list[subprocess.Popen[str]]:
    """Python with these words, twice, with what torchrun tells its processes."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "x",
              "CUDA_VISIBLE_DEVICES": ""}  # fmt: skip
    return [
        subprocess.Popen(
            [sys.executable, *words], env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
        )
        for rank in range(2)
    ]  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_ranks_end_alike_and_the_death_of_one_ends_the_other_with_a_message(tmp_path):
    script = WORKER.format(here=str(Path(__file__).parent), root=str(tmp_path), second=str(free_port()))
    processes = two_processes(["-c", script], tmp_path, free_port())
    (first, complaint), _ = (process.communicate(timeout=300) for process in processes)
    assert [process.returncode for process in processes] == [TrainingError.exit_code, 7], complaint
    assert "process 0 of 2 lost another" in first and "--resume" in first
    first, second = ((tmp_path / f"rank{rank}.txt").read_text() for rank in range(2))
    assert first == second
    config = replace(RECIPE, batch=4)
    one = Sampler(packed(tmp_path / "cache"), ("case0", "case1"), config)
    whole = torch.stack([one.batch(step).target for step in range(4)]).to(torch.uint8)
    for rank in range(2):
        part = np.frombuffer((tmp_path / f"seen{rank}.bin").read_bytes(), np.uint8).reshape(4, 2, 16, 16, 16)
        assert (part == whole[:, 2 * rank : 2 * rank + 2].numpy()).all()
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 3


def test_the_command_line_runs_as_torchrun_starts_it(tmp_path):
    flare(tmp_path / "data", 3)
    (tmp_path / "r.json").write_text(
        '{"spacing_mm": [6, 6, 8], "patch": [16, 16, 16], "epochs": 1, "epoch_steps": 1, "network": '
        '{"name": "vnet", "widths": [4, 8], "depths": [1, 1], "kernel": 3, "activation": "relu", "join": "concat"}}'
    )
    words = ["train", "--data", "data", "--recipe", "r.json", "--threads", "1"]
    processes = two_processes(["-m", "abdoseg", *words], tmp_path, free_port())
    (first, complaint), (other, _) = (process.communicate(timeout=300) for process in processes)
    assert [process.returncode for process in processes] == [0, 0], complaint
    first, other = (
        [line for line in out.splitlines() if "[Gloo]" not in line] for out in (first, other)
    )  # as 2.8 says
    assert (first, other) == (["run/best.safetensors"], [])
    assert "2 processes" in (tmp_path / "run" / "MODEL_CARD.md").read_text()


def test_more_processes_than_gpus_are_refused_with_the_number_to_give(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(ResourceError, match="3 processes here, and PyTorch sees 2 GPUs; give --nproc-per-node 2"):
        joined().__enter__()
