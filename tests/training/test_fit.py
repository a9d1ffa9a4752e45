"""The loop: the same run however often it is interrupted, and a message where it cannot go on."""

import csv
import errno
import inspect
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tiny import RECIPE, packed

import abdoseg
from abdoseg.errors import OutputError, ResourceError, TrainingError
from abdoseg.model.weights import load_model
from abdoseg.training import checkpoint, fit, history, schedule
from abdoseg.training.augment.sampler import Sampler
from abdoseg.training.fit import BEST, CHECKPOINT, LAST, RunOptions, TrainingSplit
from abdoseg.training.schedule import RunLimits

CPU = torch.device("cpu")
DROPPING = replace(RECIPE, network={**RECIPE.network, "dropout": 0.3}, epochs=3)


@pytest.fixture
def split(tmp_path):
    return TrainingSplit(packed(tmp_path / "cache"), ("case0", "case1"), ("case2",))


def log(run: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader((run / "log.csv").read_text().splitlines()))
    for row in rows:
        del row["seconds"]
    return rows


def state(run: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(run / CHECKPOINT)


def assert_same_run(one: Path, other: Path) -> None:
    assert log(one) == log(other)
    first, second = state(one), state(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (one / BEST).read_bytes()[-4000:] == (other / BEST).read_bytes()[-4000:]


def stopping_at(step: int):
    """A stop that asks to end after so many steps."""
    calls = []

    def stop() -> bool:
        calls.append(1)
        return len(calls) == step

    return stop


def test_a_run_leaves_weights_checkpoint_and_log(split, tmp_path):
    result = fit.fit(split, RECIPE, tmp_path / "run", RunOptions(CPU))
    assert result.ended == "done" and result.progress.step == 4
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [BEST, CHECKPOINT, LAST, "log.csv"]
    rows = log(tmp_path / "run")
    assert [row["step"] for row in rows] == ["2", "4"] and len(rows[0]["weights"]) == 64
    assert 0 <= float(rows[1]["dice_liver"]) <= 1 and 0 < float(rows[1]["accuracy"]) < 1
    assert 0 <= float(rows[1]["iou_at_0.5"]) <= float(rows[1]["mean_iou"]) + 0.5
    for side in ("train", "val"):
        metrics = {name: float(rows[1][f"{side}_{name}"]) for name in ("accuracy", "jaccard", "precision", "recall")}
        assert all(0 <= value <= 1 for value in metrics.values()) and float(rows[1][f"{side}_loss"]) > 0
        assert metrics["jaccard"] <= float(rows[1][f"{side}_dice"]) <= 1
    assert rows[1]["train_loss"] == f"{float(rows[1]['loss']):.4f}"
    best, last = load_model(result.weights, "cpu"), load_model(tmp_path / "run" / LAST, "cpu")
    assert last.plan.organs == best.plan.organs == RECIPE.organs and last.plan.training["steps"] == 4
    assert best.plan.training["steps"] == result.progress.best_step


def test_two_runs_are_the_same_bit_for_bit(split, tmp_path):
    for name in "ab":
        fit.fit(split, DROPPING, tmp_path / name, RunOptions(CPU))
    assert_same_run(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_resumed_run_equals_the_unbroken_one_bit_for_bit(step, split, tmp_path):
    """Stopped within an epoch or at its end, dropout and all."""
    fit.fit(split, DROPPING, tmp_path / "whole", RunOptions(CPU))
    stopped = fit.fit(split, DROPPING, tmp_path / "broken", RunOptions(CPU, limits=RunLimits(stop=stopping_at(step))))
    assert stopped.ended == "stopped" and stopped.progress.step == step
    torch.manual_seed(99)
    fit.fit(split, DROPPING, tmp_path / "broken", RunOptions(CPU, resume=True))
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_a_run_killed_between_log_and_checkpoint_resumes_to_the_same(split, tmp_path, monkeypatch):
    fit.fit(split, DROPPING, tmp_path / "whole", RunOptions(CPU))
    real, calls = fit.save_checkpoint, []

    def killed(*args):
        calls.append(1)
        if len(calls) == 3:  # after the first step, and after each of two epochs
            raise KeyboardInterrupt
        real(*args)

    monkeypatch.setattr(fit, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(split, DROPPING, tmp_path / "killed", RunOptions(CPU))
    assert len(log(tmp_path / "killed")) == 2  # one more than the checkpoint knows
    monkeypatch.setattr(fit, "save_checkpoint", real)
    fit.fit(split, DROPPING, tmp_path / "killed", RunOptions(CPU, resume=True))
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_resuming_a_finished_run_changes_nothing_and_more_epochs_go_on(split, tmp_path):
    fit.fit(split, RECIPE, tmp_path, RunOptions(CPU))
    before = log(tmp_path)
    assert fit.fit(split, RECIPE, tmp_path, RunOptions(CPU, resume=True)).progress.step == 4
    assert log(tmp_path) == before
    longer = replace(RECIPE, epochs=3)
    assert fit.fit(split, longer, tmp_path, RunOptions(CPU, resume=True)).progress.step == 6
    assert log(tmp_path)[:2] == before


def test_a_run_killed_before_its_first_checkpoint_logs_no_epoch_twice(split, tmp_path):
    fit.fit(split, RECIPE, tmp_path / "whole", RunOptions(CPU))
    fit.fit(split, RECIPE, tmp_path / "killed", RunOptions(CPU))
    (tmp_path / "killed" / CHECKPOINT).unlink()
    fit.fit(split, RECIPE, tmp_path / "killed", RunOptions(CPU, resume=True))
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_a_run_killed_in_its_first_epoch_keeps_its_warm_start_and_its_limits(split, tmp_path, monkeypatch):
    first = fit.fit(split, RECIPE, tmp_path / "first", RunOptions(CPU)).weights
    options = RunOptions(CPU, warm_start=str(first), limits=RunLimits(early_stopping=5))
    fit.fit(split, RECIPE, tmp_path / "whole", options)
    real = fit._differentiate

    def killed(batch, state, *rest):
        if state.progress.step == 1:
            raise KeyboardInterrupt
        return real(batch, state, *rest)

    monkeypatch.setattr(fit, "_differentiate", killed)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(split, RECIPE, tmp_path / "killed", options)
    monkeypatch.undo()
    result = fit.fit(split, RECIPE, tmp_path / "killed", RunOptions(CPU, resume=True))
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    assert result.progress.extra["limits"]["early_stopping"] == 5 and "warm_start" in result.progress.extra


def test_a_run_that_is_overwritten_is_not_resumed_in_its_place(split, tmp_path, monkeypatch):
    fit.fit(split, RECIPE, tmp_path, RunOptions(CPU))

    def killed(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "_differentiate", killed)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(split, RECIPE, tmp_path, RunOptions(CPU))
    assert not (tmp_path / CHECKPOINT).exists()


def test_what_watchers_write_of_an_epoch_stands_before_its_checkpoint(split, tmp_path):
    def epoch_done(epochs):
        saved = tmp_path / CHECKPOINT
        assert steps_in(saved) == (epochs[-2].step if epochs[1:] else 1)

    watcher = SimpleNamespace(stepped=lambda *given: None, epoch_done=epoch_done)
    fit.fit(split, RECIPE, tmp_path, RunOptions(CPU), [watcher])


def steps_in(path):
    with safe_open(path, framework="pt") as file:
        return checkpoint.Progress.from_json(file.metadata()["progress"]).step


def test_a_line_of_the_log_that_a_crash_cut_short_is_left_out(split, tmp_path):
    fit.fit(split, RECIPE, tmp_path, RunOptions(CPU))
    whole = (tmp_path / "log.csv").read_bytes()
    with (tmp_path / "log.csv").open("ab") as file:
        file.write(whole.splitlines()[-1].replace(b"4,", b"6,", 1)[:40])
    assert len(history.read_epochs(tmp_path / "log.csv")) == 2
    fit.fit(split, RECIPE, tmp_path, RunOptions(CPU, resume=True))
    assert (tmp_path / "log.csv").read_bytes() == whole


def test_a_disk_that_takes_half_a_line_of_the_log_keeps_the_lines_before(split, tmp_path):
    fit.fit(split, RECIPE, tmp_path, RunOptions(CPU))
    epochs, before = history.read_epochs(tmp_path / "log.csv"), (tmp_path / "log.csv").read_bytes()
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
    try:
        with pytest.raises(OutputError, match=r"log\.csv: "):
            history.append(tmp_path / "log.csv", epochs[-1], RECIPE.organs)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "log.csv").read_bytes() == before


def test_a_loss_that_is_no_number_ends_the_run_with_the_checkpoint_intact(split, tmp_path, monkeypatch):
    fit.fit(split, RECIPE, tmp_path, RunOptions(CPU))
    before = (tmp_path / CHECKPOINT).read_bytes()
    monkeypatch.setattr(fit, "mixed_loss", lambda logits, *rest: logits.sum() * float("nan"))
    with pytest.raises(TrainingError, match=r"at step 5 the loss is nan.*--resume it with a lower --learning-rate"):
        fit.fit(split, replace(RECIPE, epochs=9), tmp_path, RunOptions(CPU, resume=True))
    assert (tmp_path / CHECKPOINT).read_bytes() == before


@pytest.mark.parametrize("what", ["checkpoint", "weights", "log"])
def test_a_full_disk_ends_the_run_with_the_checkpoint_intact(what, split, tmp_path, monkeypatch):
    fit.fit(split, RECIPE, tmp_path, RunOptions(CPU))
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    place = {"checkpoint": (checkpoint, "save_file"), "weights": (Path, "write_bytes"), "log": (history.os, "fsync")}
    monkeypatch.setattr(*place[what], full)
    with pytest.raises(OutputError, match=r"the disk is full; free some space.*--resume"):
        fit.fit(split, replace(RECIPE, epochs=9), tmp_path, RunOptions(CPU, resume=True))
    monkeypatch.undo()
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert not [path.name for path in tmp_path.iterdir() if "part" in path.name or path.name.startswith(".")]
    fit.fit(split, replace(RECIPE, epochs=3), tmp_path, RunOptions(CPU, resume=True))


def test_no_memory_is_reported_with_a_remedy(split, tmp_path, monkeypatch):
    def too_much(*args):
        torch.empty(10**16)

    monkeypatch.setattr(fit, "mixed_loss", too_much)
    with pytest.raises(ResourceError, match="smaller --batch"):
        fit.fit(split, RECIPE, tmp_path, RunOptions(CPU))


def test_a_bug_keeps_its_own_error(split, tmp_path, monkeypatch):
    def mistaken(*args):
        torch.zeros(2) @ torch.zeros(3)

    monkeypatch.setattr(fit, "mixed_loss", mistaken)
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        fit.fit(split, RECIPE, tmp_path, RunOptions(CPU))


def test_a_checkpoint_of_the_former_format_goes_on_to_the_same_end(split, tmp_path):
    """Its progress has other names; with them the run ends as the unbroken one does, bit for bit."""
    fit.fit(split, DROPPING, tmp_path / "whole", RunOptions(CPU))
    fit.fit(split, DROPPING, tmp_path / "former", RunOptions(CPU, limits=RunLimits(stop=stopping_at(3))))
    path = tmp_path / "former" / CHECKPOINT
    with safe_open(path, "pt") as file:
        text, tensors = file.metadata()["progress"], {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    former = {"loss_sum": "losses", "loss_count": "counted", "limits": "terms", "early_stopping": "patience"}
    for new, old in former.items():
        assert f'"{new}"' in text
        text = text.replace(f'"{new}"', f'"{old}"')
    save_file(tensors, path, {"progress": text})
    fit.fit(split, DROPPING, tmp_path / "former", RunOptions(CPU, resume=True))
    assert_same_run(tmp_path / "whole", tmp_path / "former")


def test_a_checkpoint_of_another_network_or_a_damaged_one_is_refused(split, tmp_path):
    fit.fit(split, RECIPE, tmp_path, RunOptions(CPU))
    wider = replace(RECIPE, network={**RECIPE.network, "widths": (8, 8)})
    with pytest.raises(TrainingError, match="no checkpoint of this recipe"):
        fit.fit(split, wider, tmp_path, RunOptions(CPU, resume=True))
    content = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(content[: len(content) // 2])
    with pytest.raises(TrainingError, match="--overwrite it"):
        fit.fit(split, RECIPE, tmp_path, RunOptions(CPU, resume=True))


def test_other_data_on_resuming_is_noticed(split, tmp_path, caplog):
    fit.fit(split, RECIPE, tmp_path / "run", RunOptions(CPU))
    shutil.rmtree(tmp_path / "cache")
    other = TrainingSplit(packed(tmp_path / "cache", 3, ("liver",)), split.train, split.validate)
    with caplog.at_level("WARNING", "abdoseg"):
        fit.fit(other, RECIPE, tmp_path / "run", RunOptions(CPU, resume=True))
    assert "not what this run began with" in caplog.text


def test_early_stopping_ends_a_run_that_gets_no_better(split, tmp_path, monkeypatch):
    real = fit.validate
    monkeypatch.setattr(
        fit, "validate", lambda *args: [replace(s, dice=dict.fromkeys(s.dice, 0.5)) for s in real(*args)]
    )
    monkeypatch.setattr(fit, "mean_dice", _falling())
    result = fit.fit(split, replace(RECIPE, epochs=9), tmp_path, RunOptions(CPU, limits=RunLimits(early_stopping=2)))
    assert result.ended == "early stopping" and result.progress.step == 6 and result.progress.best_step == 2


def _falling():
    values = iter(0.9 / n for n in range(1, 99))
    return lambda scores: {"liver": next(values)}


def test_a_time_budget_ends_by_the_clock_and_counts_all_sittings(split, tmp_path):
    options = RunOptions(CPU, limits=RunLimits(time_budget_s=1.0))
    result = fit.fit(split, RECIPE, tmp_path, options)
    assert 0.5 <= result.progress.seconds < 10 and result.progress.step > 0  # the last validation has its share
    assert fit.fit(split, RECIPE, tmp_path, replace(options, resume=True)).progress.step == result.progress.step


def test_by_the_clock_validations_keep_their_distance_and_time_is_kept_for_the_last(split, tmp_path, monkeypatch):
    """A clock on which a step takes 1 s and a validation 3: the first at once, the next 27 s on, the last at 55 s."""
    now = [0.0]
    real = fit.validate

    def tick(seconds: float) -> bool:
        now[0] += seconds
        return False

    monkeypatch.setattr(schedule, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(fit, "validate", lambda *args: tick(3) or real(*args))
    config = replace(RECIPE, epoch_steps=1)
    limits = RunLimits(time_budget_s=60, stop=lambda: tick(1))
    result = fit.fit(split, config, tmp_path / "run", RunOptions(CPU, limits=limits))
    assert [row["step"] for row in log(tmp_path / "run")] == ["1", "29", "49"]
    assert result.progress.seconds == 58 and result.ended == "done"
    short = fit.fit(split, config, tmp_path / "short", RunOptions(CPU, limits=replace(limits, time_budget_s=0.5)))
    assert [row["step"] for row in log(tmp_path / "short")] == ["1"] and short.progress.step == 1


def test_a_run_may_begin_with_the_weights_of_another_and_resumes_from_its_own(split, tmp_path):
    first = fit.fit(split, RECIPE, tmp_path / "first", RunOptions(CPU)).weights
    options = RunOptions(CPU, warm_start=str(first))
    fit.fit(split, DROPPING, tmp_path / "whole", options)
    fit.fit(split, DROPPING, tmp_path / "broken", replace(options, limits=RunLimits(stop=stopping_at(2))))
    result = fit.fit(split, DROPPING, tmp_path / "broken", replace(options, resume=True))
    assert_same_run(tmp_path / "whole", tmp_path / "broken")
    assert result.progress.extra["warm_start"].startswith(f"{first}, SHA-256")


def test_frozen_statistics_stay_those_of_the_first_weights_while_all_else_is_trained(split, tmp_path):
    first = fit.fit(split, RECIPE, tmp_path / "first", RunOptions(CPU)).weights
    options = RunOptions(CPU, warm_start=str(first))
    fit.fit(split, replace(RECIPE, frozen_statistics=True), tmp_path / "frozen", options)
    fit.fit(split, RECIPE, tmp_path / "free", options)
    kept, frozen, free = (
        load_model(path, "cpu").network.state_dict()
        for path in (first, tmp_path / "frozen" / LAST, tmp_path / "free" / LAST)
    )
    running = [name for name in kept if name.endswith(("running_mean", "running_var"))]
    assert running and all(torch.equal(kept[name], frozen[name]) for name in running)
    assert not any(torch.equal(kept[name], free[name]) for name in running)
    assert not torch.equal(kept["head.weight"], frozen["head.weight"])


def test_the_average_of_weights_is_what_is_kept(split, tmp_path):
    from safetensors.torch import load_file

    fit.fit(split, replace(RECIPE, ema=0.5, epochs=1), tmp_path, RunOptions(CPU))
    tensors, kept = state(tmp_path), load_file(tmp_path / fit.LAST)
    apart = 0
    for name, tensor in kept.items():
        assert torch.equal(tensor, tensors[f"average.{name}"].to(tensor.dtype))
        apart += not torch.equal(tensor, tensors[f"network.{name}"].to(tensor.dtype))
    assert apart


def test_a_run_that_goes_on_keeps_its_early_stopping_and_time_budget(split, tmp_path):
    began = RunLimits(time_budget_s=3600.0, early_stopping=5, stop=stopping_at(1))
    fit.fit(split, RECIPE, tmp_path, RunOptions(CPU, limits=began))
    going_on = RunOptions(CPU, resume=True, limits=RunLimits(stop=stopping_at(2)))
    result = fit.fit(split, RECIPE, tmp_path, going_on)
    assert result.ended == "stopped"  # and not done, as it would be by steps
    assert result.progress.extra["limits"] == {
        "epochs": RECIPE.epochs, "time_budget_s": 3600.0, "early_stopping": 5,
    }  # fmt: skip
    result = fit.fit(split, replace(RECIPE, epochs=RECIPE.epochs + 1), tmp_path, RunOptions(CPU, resume=True))
    assert result.progress.extra["limits"]["time_budget_s"] is None


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_every_optimiser_resumes(optimiser, split, tmp_path):
    config = replace(RECIPE, optimiser=optimiser, epochs=2)
    fit.fit(split, config, tmp_path / "whole", RunOptions(CPU))
    fit.fit(split, config, tmp_path / "broken", RunOptions(CPU, limits=RunLimits(stop=stopping_at(1))))
    fit.fit(split, config, tmp_path / "broken", RunOptions(CPU, resume=True))
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_no_pickle_is_ever_read_or_written():
    for path in Path(inspect.getfile(abdoseg)).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not any(word in text for word in ("torch.load(", "torch.save(", "import pickle", "allow_pickle=True")), (
            path
        )


def test_one_class_of_an_organ_nobody_annotated_still_trains(tmp_path):
    cache = packed(tmp_path / "cache", 2, ("liver",))
    result = fit.fit(TrainingSplit(cache, ("case0",), ("case1",)), RECIPE, tmp_path / "run", RunOptions(CPU))
    assert result.progress.step == 4


def test_weights_hold_the_ranges_of_feature_maps_that_may_be_bytes(split, tmp_path):
    recipe = replace(RECIPE, network={**RECIPE.network, "stem": 2, "depths": (2, 1)}, epochs=1)
    result = fit.fit(split, recipe, tmp_path / "run", RunOptions(CPU))
    model = load_model(result.weights, "cpu")
    sampler = Sampler(split.cache, split.train, recipe)
    with torch.inference_mode():
        steps = range(result.progress.step, result.progress.step + fit.CALIBRATION_PATCHES // recipe.batch)
        stems = [model.network.stem(sampler.batch(step).image) for step in steps]
    ends = min(float(s.min()) for s in stems), max(float(s.max()) for s in stems)
    ranges = model.plan.activation_ranges
    assert ranges["stem"] == pytest.approx(ends, abs=0.01)  # the weights are stored in half precision
    assert set(ranges) == {"stem", "encoder.0", "encoder.0.activations.0", "downs.0", "ups.0",
                           "decoder.0.activations.0"}  # fmt: skip
    plain = fit.fit(split, RECIPE, tmp_path / "plain", RunOptions(CPU))
    assert load_model(plain.weights, "cpu").plan.activation_ranges is None
