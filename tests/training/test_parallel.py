"""Two processes by torchrun, gloo on CPU: one run, the same weights, and a message when one dies."""

import subprocess
import sys
from pathlib import Path

import pytest
from tiny import flare

WORKER = """
import signal, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {here!r})
import torch
torch.set_num_threads(1)
from tiny import RECIPE, packed
from abdoseg.errors import TrainingError
from abdoseg.training import fit
from abdoseg.training.parallel import joined

root, dies = Path({root!r}), {dies}
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends the others too; here they are to end by themselves
kept = []
average = fit.average
fit.average = lambda running, network, decay, step: (kept.append(network), average(running, network, decay, step))
seen = []
loss = fit.mixed_loss
fit.mixed_loss = lambda logits, target, *rest: (seen.append(target), loss(logits, target, *rest))[1]

class Death:
    def stepped(self, progress, share, value):
        if dies and rank == 1 and progress.step == 1:
            import os
            os._exit(7)
    def epoch_done(self, epochs):
        pass

try:
    with joined("cpu") as world:
        rank = world.rank
        cache = packed(root / f"cache{{rank}}")
        config = replace(RECIPE, network={{**RECIPE.network, "norm": "none"}}, epochs=2)
        task = fit.Task(cache, ("case0", "case1"), ("case2",))
        fit.fit(task, config, root / "run", fit.Terms(torch.device("cpu")), [Death()], world)
        parameters = dict(kept[-1].named_parameters())
        (root / f"rank{{rank}}.txt").write_text(fit.digest_of(parameters))
        torch_seen = torch.cat(seen).to(torch.uint8).numpy()
        (root / f"seen{{rank}}.bin").write_bytes(torch_seen.tobytes())
except TrainingError as error:
    print("MESSAGE", error, flush=True)
    sys.exit(error.exit_code)
"""


def torchrun(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    return subprocess.run([*start, "--standalone", *command], capture_output=True, text=True, cwd=cwd, timeout=240)


def worker(root: Path, dies: bool) -> subprocess.CompletedProcess[str]:
    script = root / "worker.py"
    script.write_text(WORKER.format(here=str(Path(__file__).parent), root=str(root), dies=dies))
    return torchrun(str(script), cwd=root)


@pytest.mark.slow
def test_both_ranks_end_with_the_same_weights_and_saw_different_patches(tmp_path):
    done = worker(tmp_path, dies=False)
    assert done.returncode == 0, done.stderr
    first, second = ((tmp_path / f"rank{rank}.txt").read_text() for rank in range(2))
    assert first == second
    assert (tmp_path / "seen0.bin").read_bytes() != (tmp_path / "seen1.bin").read_bytes()
    assert (tmp_path / "run" / "best.safetensors").exists()
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_a_dead_rank_ends_the_run_with_a_message(tmp_path):
    done = worker(tmp_path, dies=True)
    assert done.returncode != 0
    assert "MESSAGE process 0 of 2 lost another" in done.stdout and "--resume" in done.stdout


@pytest.mark.slow
def test_the_command_line_runs_under_torchrun(tmp_path):
    flare(tmp_path / "data", 3)
    (tmp_path / "r.json").write_text(
        '{"spacing_mm": [6, 6, 8], "patch": [16, 16, 16], "epochs": 1, "epoch_steps": 1, "network": '
        '{"name": "vnet", "widths": [4, 8], "depths": [1, 1], "kernel": 3, "activation": "relu", "join": "concat"}}'
    )
    done = torchrun(
        "-m", "abdoseg", "train", "--data", "data", "--recipe", "r.json", "--threads", "1", "--device", "cpu",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["run/best.safetensors"]
    assert "2 processes" in (tmp_path / "run" / "MODEL_CARD.md").read_text()
