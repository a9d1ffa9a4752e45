"""abdoseg train and prepare, as a user types them."""

import csv
import json
import os
import signal
import sys
import threading
from pathlib import Path

import click
import nibabel
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from abdoseg.anatomy.label_schemes import numbers_in
from abdoseg.anatomy.organs import MAIN
from abdoseg.cli import commands
from abdoseg.cli.param_types import auto_or_from, counts, duration
from abdoseg.errors import AbdosegError, DatasetError, ModelError, OutputError, UsageError

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from tiny import RECIPE, flare

RECIPE_JSON = {"organs": [*MAIN, "pancreas"], "spacing_mm": RECIPE.spacing_mm, "patch": RECIPE.patch,
               "network": RECIPE.network, "epoch_steps": 1, "epochs": 1, "warmup_steps": 1}  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flare(tmp_path / "FLARE22", 3)
    (tmp_path / "r.json").write_text(json.dumps(RECIPE_JSON))
    return tmp_path


def run(*words: str):
    """Runs the command line; errors of ours come through."""
    result = CliRunner().invoke(commands, list(words), standalone_mode=False)
    if isinstance(result.exception, AbdosegError | click.ClickException | click.Abort):
        raise result.exception
    assert result.exception is None, result.exception
    return result


TRAIN = ("train", "--data", "FLARE22", "--recipe", "r.json", "--device", "cpu")


def test_one_command_trains_and_says_what_it_understood(here):
    result = run(*TRAIN, "-o", "out")
    assert result.stdout.strip() == "out/best.safetensors" and (here / "out" / "MODEL_CARD.md").exists()
    for words in ("labels flare22, 3 cases", "kidney_left", "spacing 6 to 6", "not learnt", "2 cases train, 1 validate",
                  "epoch 1 step 1"):  # fmt: skip
        assert words in result.stderr


def test_a_run_is_not_overwritten_by_accident_and_resumes(here):
    run(*TRAIN)
    for more in ((), ("--folds", "2", "-o", ".")):
        with pytest.raises(OutputError, match=r"run: holds a run already; --resume it"):
            run(*TRAIN, *more)
    run("train", "--data", "FLARE22", "--resume", "--epochs", "2", "-q")
    assert len((here / "run" / "log.csv").read_text().splitlines()) == 3
    run(*TRAIN, "--overwrite", "-q")
    assert len((here / "run" / "log.csv").read_text().splitlines()) == 2


def test_a_run_that_goes_on_keeps_its_validation_cases_its_organs_and_its_seed(here):
    run(*TRAIN, "--val-cases", "case1", "--organs", "liver,spleen", "--seed", "3", "-q")
    kept = (here / "run" / "split.json").read_text()
    again = ("train", "--data", "FLARE22", "--device", "cpu", "--resume", "--epochs", "2", "-q")
    run(*again)
    assert (here / "run" / "split.json").read_text() == kept and json.loads(kept)["validate"] == ["case1"]
    recipe = json.loads((here / "run" / "recipe.json").read_text())
    assert (recipe["organs"], recipe["seed"], recipe["epochs"]) == (["liver", "spleen"], 3, 2)
    for words, message in (
        (("--val-cases", "case0"), "the run validates on case1"),
        (("--organs", "spleen,liver"), "the run learns liver, spleen, not spleen, liver"),
        (("--recipe", "default"), "another network and spacing_mm and patch"),
        (("--seed", "1"), "another seed"),
    ):
        with pytest.raises(click.UsageError, match=message):
            run(*again, *words)
        assert json.loads((here / "run" / "recipe.json").read_text()) == recipe


def test_folds_go_on_with_their_own_recipe(here):
    run(*TRAIN, "--folds", "3", "--fold", "1", "-q", "-o", "run")
    (here / "run" / "fold1").mkdir()
    for path in [path for path in (here / "run").iterdir() if path.is_file()]:
        path.rename(here / "run" / "fold1" / path.name)
    run("train", "--data", "FLARE22", "--device", "cpu", "--folds", "3", "--resume", "-q", "-o", "run")
    recipes = [json.loads((here / "run" / f"fold{n}" / "recipe.json").read_text()) for n in (1, 2, 3)]
    assert recipes[0] == recipes[1] == recipes[2]
    assert recipes[0]["epoch_steps"] == 1


def test_folds_do_not_go_on_with_other_cases(here):
    run(*TRAIN, "--folds", "3", "-q")
    flare(here / "FLARE22", 4)
    with pytest.raises(DatasetError, match="run/fold1: began with other cases"):
        run("train", "--data", "FLARE22", "--device", "cpu", "--folds", "3", "--resume", "-q")


def _dying_in(monkeypatch, folder):
    """The command is killed where it would begin to train in `folder`."""
    from abdoseg.training.experiments import runs

    real = runs.fit

    def fit(split, config, run, *rest):
        if run.name == folder:
            raise click.Abort
        return real(split, config, run, *rest)

    monkeypatch.setattr(runs, "fit", fit)


@pytest.mark.parametrize("more", [("--folds", "3"), ("--learning-curve", "1,2", "--seeds", "1")])
def test_several_runs_that_are_overwritten_are_not_taken_for_finished(more, here, monkeypatch):
    run(*TRAIN, *more, "-q")
    last = sorted(path.parent.name for path in (here / "run").rglob("checkpoint.safetensors"))[-1]
    with monkeypatch.context() as patch:
        _dying_in(patch, last)
        with pytest.raises(click.Abort):
            run(*TRAIN, *more, "--overwrite", "--epochs", "3", "-q")
    assert not (here / "run" / last / "checkpoint.safetensors").exists()  # --resume would have gone on from there


def test_runs_to_come_begin_as_the_first_of_them_did(here, monkeypatch):
    run(*TRAIN, "-o", "first", "-q")
    with monkeypatch.context() as patch:
        _dying_in(patch, "fold2")
        with pytest.raises(click.Abort):
            run(*TRAIN, "--folds", "3", "--from", "first/best.safetensors", "--early-stopping", "2", "-q")
    again = ("train", "--data", "FLARE22", "--folds", "3", "--resume", "--device", "cpu", "-q")
    with pytest.raises(click.UsageError, match=r"run/fold1: the first run began with --from and --early-stopping"):
        run(*again)
    run(*again, "--from", "first/best.safetensors", "--early-stopping", "2")
    assert "began from: first" in (here / "run" / "fold3" / "MODEL_CARD.md").read_text()


def test_recipes_that_go_on_keep_the_split_of_those_that_are_finished(here, monkeypatch):
    (here / "other.json").write_text(json.dumps({**RECIPE_JSON, "seed": 5}))
    words = ("train", "--data", "FLARE22", "--recipe", "r.json,other.json", "--device", "cpu", "-q")
    with monkeypatch.context() as patch:
        _dying_in(patch, "other")
        with pytest.raises(click.Abort):
            run(*words, "--val-cases", "case0")
    run(*words, "--resume")
    splits = [json.loads((here / "run" / name / "split.json").read_text())["validate"] for name in ("r", "other")]
    assert splits == [["case0"], ["case0"]]
    with monkeypatch.context() as patch:
        _dying_in(patch, "r")
        with pytest.raises(click.Abort):
            run(*words, "--overwrite", "--epochs", "2")
    assert not list((here / "run").rglob("scores.csv"))


def test_resume_without_a_run_says_that_it_begins_one(here):
    assert "there is no run yet to be resumed" in run(*TRAIN, "--resume").stderr


def test_a_learning_curve_that_cannot_be_is_refused_before_its_first_run(here):
    with pytest.raises(DatasetError, match="9 training cases were asked for, and there are 2"):
        run(*TRAIN, "--learning-curve", "1,9", "-q")
    assert not list((here / "run").glob("cases*"))


def test_two_deterministic_runs_give_the_same_weights(here):
    for name in "ab":
        run(*TRAIN, "--deterministic", "-o", name, "-q")
    import torch

    torch.use_deterministic_algorithms(False)
    a, b = ((here / name / "best.safetensors").read_bytes() for name in "ab")
    assert a[-2000:] == b[-2000:]  # the tensors; the plan before them says how many seconds it took
    digests = [(here / n / "log.csv").read_text().splitlines()[-1].split(",")[-1] for n in "ab"]
    assert digests[0] == digests[1]


def test_a_dry_run_only_says_what_it_understood(here):
    stderr = run(*TRAIN, "--val-cases", "case1,case2", "--dry-run").stderr
    assert "3 cases" in stderr and "1 liver, 2 kidney_right, 3 spleen" in stderr and "validate: case1, case2" in stderr
    assert not (here / "run").exists()
    with Image.open(here / "abdoseg-cache" / "case1.png") as picture:
        assert picture.width > 300 and "abdoseg-cache/case1.png" in stderr


def test_recipes_are_listed_by_a_flag_and_in_the_help():
    listed = run("train", "--list-recipes").stdout
    assert "manet            MAnet on slices, ResNet-34 encoder" in listed and len(listed.splitlines()) == 9
    assert "manet            MAnet on slices" in run("train", "--help").stdout


def test_validation_cases_may_be_named(here):
    run(*TRAIN, "--val-cases", "case0,case2", "-q")
    assert json.loads((here / "run" / "split.json").read_text())["validate"] == ["case0", "case2"]
    with pytest.raises(DatasetError, match="no such validation case: case9"):
        run(*TRAIN, "--val-cases", "case9", "--overwrite", "-q")


def test_an_organ_that_no_validation_case_shows_is_said(here):
    path = here / "FLARE22" / "labels" / "case0.nii.gz"
    image = nibabel.load(path)
    labels = np.asarray(image.dataobj).copy()
    labels[labels == numbers_in("flare22")["spleen"]] = 0
    nibabel.save(nibabel.Nifti1Image(labels, image.affine, image.header), path)
    said = run(*TRAIN, "--val-cases", "case0").stderr
    assert "no case that validates shows spleen: best.safetensors is chosen by the other organs" in said
    assert "validates shows" not in run(*TRAIN, "--val-cases", "case1", "--overwrite").stderr


def test_frozen_statistics_need_weights_to_take_them_from(here):
    (here / "frozen.json").write_text('{"recipe": "default", "frozen_statistics": true}')
    with pytest.raises(click.UsageError, match=r"frozen\.json: .* name them with --from"):
        run(*TRAIN, "--recipe", "frozen.json", "-q")


def test_folds_leave_an_ensemble_and_a_table(here):
    result = run(*TRAIN, "--folds", "3", "-q")
    assert result.stdout.split() == [f"run/fold{n}/best.safetensors" for n in (1, 2, 3)]
    assert (here / "run" / "crossvalidation.md").exists()
    assert run(*TRAIN, "--folds", "3", "--fold", "2", "-o", "one", "-q").stdout.split() == ["one/best.safetensors"]


def test_a_recipe_that_cannot_be_is_refused_before_data_is_prepared_for_it(here):
    (here / "bad.json").write_text('{"spacing_mm": [0, 1, 1]}')
    with pytest.raises(UsageError, match=r"spacing_mm is \(0, 1, 1\), but must be"):
        run("prepare", "--data", "FLARE22", "--recipe", "bad.json", "--cache", "packed")
    assert not (here / "packed").exists()


def test_data_can_be_prepared_and_trained_from(here):
    folder = run("prepare", "--data", "FLARE22", "--recipe", "r.json", "--cache", "packed", "-q").stdout.strip()
    assert Path(folder, "manifest.json").exists()
    (here / "FLARE22").rename(here / "gone")
    run("train", "--data", "packed", "--recipe", "r.json", "-q")
    with pytest.raises(DatasetError, match="prepare it again with this --recipe"):
        run("train", "--data", folder, "-o", "other", "-q")


def test_several_datasets_have_their_own_labels_and_weights(here):
    flare(here / "more", 1)
    for path in (here / "more").rglob("case0*"):
        path.rename(path.with_name(path.name.replace("case0", "extra0")))
    both = ("train", "--data", "FLARE22", "--data", "more", "--recipe", "r.json", "-q")
    run(*both, "--labels", "auto", "--labels", "flare22", "--weight", "1", "--weight", "2.5")
    with pytest.raises(click.UsageError, match="2 --data and 3 --label"):
        run(*both, "--overwrite", "--labels", "auto", "--labels", "flare22", "--labels", "btcv")


def test_only_the_organs_asked_for_are_learnt(here):
    run(*TRAIN, "--organs", "liver,spleen", "-q")
    assert json.loads((here / "run" / "recipe.json").read_text())["organs"] == ["liver", "spleen"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--folds", "3", "--val-cases", "case0"), "both choose the validation cases"),
        (("--fold", "1"), "which of --folds"),
        (("--folds", "2", "--fold", "3"), "no --fold 3 of 2"),
        (("--deterministic", "--time-budget", "1h"), "follows the clock"),
        (("--learning-curve", "1,2", "--folds", "2"), "leave --folds out"),
        (("--time-budget", "soon"), "no duration"),
        (("--val", "nan"), "--val is no fraction"),
        (("--weight", "nan"), "--weight is no finite number"),
        (("--weight", "inf"), "--weight is no finite number"),
        (("--learning-curve", "0,1"), "no list of counts"),
    ],
)
def test_what_contradicts_itself_is_refused_before_any_work(words, message, here):
    with pytest.raises(click.UsageError, match=message):
        run(*TRAIN, *words)
    assert not (here / "abdoseg-cache").exists()


@pytest.mark.parametrize("words", [("--learning-rate", "nan"), ("--synthetic", "nan"), ("--seed", "202611301723")])
def test_numbers_that_no_recipe_may_have_are_refused_before_any_work(words, here):
    with pytest.raises(UsageError, match=f"{words[0].strip('-').replace('-', '_')} is .*, but must be"):
        run(*TRAIN, *words)
    assert not (here / "abdoseg-cache").exists()


def test_an_unknown_recipe_or_dataset_is_reported(here):
    with pytest.raises(UsageError, match=r"vnet-softmax, vnet-dice"):
        run("train", "--data", "FLARE22", "--recipe", "nope")
    with pytest.raises(DatasetError, match="nowhere: no such folder or file"):
        run("train", "--data", "nowhere", "--recipe", "r.json")


def test_a_network_that_cannot_be_built_is_reported_before_the_data_is_packed(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ModelError, match=r"pip install 'abdoseg\[slices\]'"):
        run("train", "--data", "FLARE22", "--recipe", "manet")
    assert not (here / "abdoseg-cache").exists()


def test_a_run_may_begin_with_the_weights_of_another(here):
    run(*TRAIN, "-o", "first", "-q")
    more = ("--learning-rate", "1e-9", "--organs", "liver,spleen", "--synthetic", "0")
    assert "begin" not in run(*TRAIN, "-o", "second", "--from", "first/best.safetensors", *more).stderr
    assert json.loads((here / "second" / "recipe.json").read_text())["progressive"] == []
    assert "began from: first/best.safetensors, SHA-256" in (here / "second" / "MODEL_CARD.md").read_text()
    stderr = run(*TRAIN, "-o", "third", "--from", "second/best.safetensors").stderr
    assert "knows nothing of kidney_right, kidney_left, which begin anew" in stderr
    with pytest.raises(
        ModelError, match=r"organs: these weights do not fit the recipe: .*widths .* there and \[4, 8\] here"
    ):
        run(*TRAIN, "-o", "fourth", "--from", "organs", "-q")


def test_a_dataset_of_healthy_livers_teaches_tumours(here):
    (here / "r.json").write_text(json.dumps({**RECIPE_JSON, "organs": [*MAIN, "liver_tumour"], "tumours": 1.0}))
    run(*TRAIN, "-o", "none", "-q")
    assert "liver_tumour" not in json.loads((here / "none" / "recipe.json").read_text())["organs"]
    stderr = run(*TRAIN, "--healthy-liver", "FLARE22", "-o", "some").stderr
    assert "liver_tumour" in stderr
    assert "liver_tumour" in json.loads((here / "some" / "recipe.json").read_text())["organs"]
    with pytest.raises(click.UsageError, match="--healthy-liver elsewhere: no such --data; name one of FLARE22"):
        run(*TRAIN, "--healthy-liver", "elsewhere", "-o", "other")


def test_without_a_recipe_the_weights_bring_their_network_and_grid(here):
    run(*TRAIN, "-o", "first", "-q")
    words = ("train", "--data", "FLARE22", "--device", "cpu", "--from", "first/best.safetensors", "--time-budget", "1s")
    run(*words, "-o", "on")
    first, second = (json.loads((here / name / "recipe.json").read_text()) for name in ("first", "on"))
    assert all(second[key] == first[key] for key in ("network", "spacing_mm", "patch", "window_hu"))
    assert second["epoch_steps"] > first["epoch_steps"]  # all else is the default recipe's
    assert second["progressive"] == []


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("45m", 2700), ("2h", 7200), ("1h30m", 5400), ("20", 20)])
def test_durations(text, seconds):
    assert duration(None, None, text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1s", "0s", "1.5.2h", "2 h"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(click.BadParameter):
        duration(None, None, text)


@pytest.mark.parametrize(("text", "value"), [("auto", "auto"), ("3", 3), (None, None)])
def test_auto_or_a_whole_number(text, value):
    assert auto_or_from(1)(None, None, text) == value


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", ""])
def test_neither_auto_nor_a_number_is_refused(text):
    with pytest.raises(click.BadParameter, match="neither auto nor a whole number from 1 on"):
        auto_or_from(1)(None, None, text)


def test_on_a_cpu_auto_leaves_the_recipes_batch_and_takes_no_processes(here):
    stderr = run(*TRAIN, "--batch", "auto").stderr
    recipe = json.loads((here / "run" / "recipe.json").read_text())
    assert (recipe["batch"], recipe["learning_rate"]) == (RECIPE.batch, 1.5e-3) and "processes draw" not in stderr
    stderr = run(*TRAIN, "--workers", "1", "-o", "other").stderr
    assert "1 processes draw patches on cpu" in stderr
    same = [(here / name / "log.csv").read_text().split(",")[-1] for name in ("run", "other")]
    assert same[0] == same[1]


def test_encoder_weights_are_for_networks_on_slices(here):
    (here / "e.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="are for networks on slices"):
        run(*TRAIN, "--encoder-weights", "e.safetensors", "-q")
    with pytest.raises(click.UsageError, match="--from has its own encoder"):
        run(*TRAIN, "--encoder-weights", "e.safetensors", "--from", "organs", "-o", "other")


def test_counts_are_whole_and_above_zero():
    assert counts(None, None, "1, 2,4") == (1, 2, 4) and counts(None, None, None) == ()


def test_a_signal_ends_the_run_with_a_checkpoint_and_resume_goes_on(here):
    (here / "r.json").write_text(json.dumps({**RECIPE_JSON, "epochs": 400}))
    before = signal.getsignal(signal.SIGTERM)
    timer = threading.Thread(target=_end_when, args=(here / "run" / "checkpoint.safetensors",))
    timer.start()
    with pytest.raises(click.Abort):
        run(*TRAIN)
    timer.join()
    assert signal.getsignal(signal.SIGTERM) == before
    rows = (here / "run" / "log.csv").read_text().splitlines()
    assert 1 < len(rows) < 401
    run("train", "--data", "FLARE22", "--resume", "--epochs", str(len(rows) + 1), "-q")


def _end_when(path: Path) -> None:
    import time

    while not path.exists():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGTERM)


def test_several_recipes_are_trained_on_one_split_and_end_in_a_table(here):
    (here / "wide.json").write_text(
        json.dumps({**RECIPE_JSON, "network": {**RECIPE.network, "widths": [4, 4]}, "spacing_mm": [7.0, 7.0, 9.0]})
    )
    words = ("train", "--data", "FLARE22", "--recipe", "r.json,wide.json", "--device", "cpu", "--val-cases", "case1")
    result = run(*words)
    assert result.stdout.split() == ["run/r/best.safetensors", "run/wide/best.safetensors", "run/comparison.html"]
    assert "| recipe | steps |" in result.stderr
    splits = [json.loads((here / "run" / name / "split.json").read_text())["validate"] for name in ("r", "wide")]
    assert splits == [["case1"], ["case1"]]
    rows = list(csv.DictReader((here / "run" / "comparison.csv").read_text().splitlines()))
    assert len(rows) == 2 and {"dice_liver", "train_jaccard", "val_precision", "val_loss"} <= set(rows[0])
    page = (here / "run" / "comparison.html").read_text()
    assert "Jaccard, validation cases" in page and "<svg" in page
    before = (here / "run" / "r" / "log.csv").read_bytes()
    (here / "run" / "wide" / "scores.csv").unlink()
    again = run(*words, "--resume")
    assert again.stdout.split() == ["run/wide/best.safetensors", "run/comparison.html"]
    assert (here / "run" / "r" / "log.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--recipe", "r.json,r.json"), "names one twice"),
        (("--recipe", "r.json,default", "--folds", "2"), "leave --folds and --learning-curve out"),
        (("--recipe", "r.json,default", "--from", "organs"), "leave --from out"),
    ],
)
def test_what_several_recipes_cannot_be_given_with_is_reported(here, more, message):
    with pytest.raises(click.UsageError, match=message):
        run("train", "--data", "FLARE22", *more)
