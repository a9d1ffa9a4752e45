"""Whole runs: what lies in the folder afterwards, folds, and learning curves."""

import csv
import json
from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import RECIPE, flare, packed

from abdoseg.anatomy.organs import BY_NAME
from abdoseg.errors import OutputError
from abdoseg.runtime.claim import claim
from abdoseg.training.data.collect import DatasetRequest, collect_datasets
from abdoseg.training.data.splits import by_names
from abdoseg.training.experiments.curves import Curves, draw_labels
from abdoseg.training.experiments.model_card import OrganScore, OrganSummary, markdown_table, summarise
from abdoseg.training.experiments.runs import (
    Experiment,
    Point,
    completed,
    cross_validate,
    interval,
    learning_curve,
    train_once,
)
from abdoseg.training.fit import RunOptions
from abdoseg.training.history import Epoch

SHORT = replace(RECIPE, epochs=1)


@pytest.fixture
def experiment(tmp_path):
    collected = collect_datasets([DatasetRequest(flare(tmp_path / "data", 4))], SHORT, tmp_path / "cache")
    return Experiment(collected, SHORT, RunOptions(torch.device("cpu")), "abdoseg train --data data")


def test_a_folder_in_which_another_process_trains_is_refused_and_left_as_it_is(experiment, tmp_path):
    split = by_names(experiment.data.scans(), ["case3"])
    with claim(tmp_path / "run", beat_s=0.05), pytest.raises(OutputError, match=r"another process .* trains here"):
        train_once(experiment, split, tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())
    train_once(experiment, split, tmp_path / "run")
    assert (tmp_path / "run" / "MODEL_CARD.md").exists() and not list((tmp_path / "run").glob(".*"))


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_prepared_case_is_drawn_with_its_contours(tmp_path):
    (case,) = packed(tmp_path, 1).cases
    sheet = np.asarray(draw_labels(case)).astype(int)
    for organ in ("liver", "spleen"):
        assert (np.abs(sheet - BY_NAME[organ].colour).sum(axis=2) < 60).sum() > 30
    without_image = np.asarray(draw_labels(replace(case, digests={"labels": ""})))
    assert without_image.shape == sheet.shape and without_image.mean() < sheet.mean()


def test_a_run_leaves_its_pictures_scores_and_model_card(experiment, tmp_path):
    run = tmp_path / "run"
    result = train_once(experiment, by_names(experiment.data.scans(), ["case3"]), run)
    curves = (run / "curves.svg").read_text()
    metrics = (run / "metrics.svg").read_text()
    assert "Pixel metrics, training patches" in metrics and "Pixel metrics, validation cases" in metrics
    assert "jaccard " in metrics and ">validation " in curves
    assert "Loss: loss by step; training " in curves and "Dice, validation cases: Dice by step; liver " in curves
    with Image.open(run / "validation" / "case3.png") as sheet:
        assert sheet.width > 500
    assert {row["organ"] for row in rows(run / "scores.csv")} == set(SHORT.organs) and len(result.rows) == 4
    assert json.loads((run / "split.json").read_text())["validate"] == ["case3"]
    card = (run / "MODEL_CARD.md").read_text()
    for words in ("abdoseg train --data data", "seed 0", "case0, case1, case2", "no medical device", "| case3 |",
                  "under the terms of the data", experiment.data.cache.digest()):  # fmt: skip
        assert words in card


def test_folds_score_every_case_once(experiment, tmp_path):
    found = cross_validate(experiment, 2, tmp_path / "run")
    assert sorted({row.case for row in found}) == ["case0", "case1", "case2", "case3"]
    assert len(rows(tmp_path / "run" / "crossvalidation.csv")) == len(found) == 16
    text = (tmp_path / "run" / "crossvalidation.md").read_text()
    assert "**mean**" in text and "sd of Dice" in text and "| case2 |" in text
    assert (tmp_path / "run" / "fold1" / "best.safetensors").exists()


def test_a_learning_curve_has_a_point_for_each_count(experiment, tmp_path):
    split = by_names(experiment.data.scans(), ["case3"])
    points = learning_curve(experiment, split, [1, 2], 2, tmp_path / "run")
    assert {(p.cases, p.seeds) for p in points} == {(1, 2), (2, 2)} and len(points) == 8
    assert len(rows(tmp_path / "run" / "learning-curve.csv")) == 8
    assert (tmp_path / "run" / "learning-curve.svg").exists()
    few = json.loads((tmp_path / "run" / "cases1-seed0" / "split.json").read_text())
    assert len(few["train"]) == 1 and few["validate"] == ["case3"]


def test_the_confidence_interval_is_students():
    mean, half = interval([0.8, 0.9])
    assert (mean, half) == pytest.approx((0.85, 12.706 * 0.05), abs=1e-3)
    twelve = [0.8, 0.9] * 6  # 11 degrees of freedom: t is 2.201
    assert interval(twelve)[1] == pytest.approx(2.201 * np.std(twelve, ddof=1) / 12**0.5, abs=1e-4)


def test_a_curve_of_one_seed_has_no_interval():
    assert Point(4, "liver", *interval([0.9]), 1).text == "4 cases, liver: Dice 0.900"
    assert Point(4, "liver", *interval([0.8, 0.9]), 2).text == "4 cases, liver: Dice 0.850 +- 0.635"


def test_label_maps_train_and_never_validate(experiment):
    collected = replace(experiment.data, patients={**experiment.data.patients, "map": "map", "twin": "case3"})
    split = completed(collected, by_names(experiment.data.scans(), ["case3"]))
    assert "map" in split.train and "twin" not in split.train


def test_means_and_deviations_are_over_the_cases_that_have_the_organ():
    found = [
        OrganScore(case="a", organ="liver", dice=0.9, nsd=1.0, hd95_mm=2.0, volume_error=0.0),
        OrganScore(case="b", organ="liver", dice=0.7, nsd=0.5, hd95_mm=4.0, volume_error=0.1),
        OrganScore(case="b", organ="spleen", dice=0.5, nsd=0.4, hd95_mm=1.0, volume_error=0.0),
    ]
    means = summarise(found)
    assert astuple(means["liver"]) == pytest.approx((0.8, 0.02**0.5, 0.75, 2))
    assert means["spleen"] == OrganSummary(dice=0.5, dice_sd=0.0, nsd=0.4, cases=1)
    assert markdown_table(found).splitlines()[2] == "| a | 0.900 / 1.000 |  |"


def test_curves_can_be_drawn_before_anything_was_measured(tmp_path):
    Curves(tmp_path, RECIPE).epoch_done([Epoch(step=2, seconds=1.0, loss=0.7, learning_rate=1e-3, dice={})])
    assert (tmp_path / "curves.svg").exists()


def test_tensorboard_gets_its_events_where_it_is_installed(tmp_path):
    pytest.importorskip("tensorboard")
    from abdoseg.training.checkpoint import Progress
    from abdoseg.training.experiments.tensorboard import Events

    events = Events(tmp_path)
    events.stepped(Progress(step=1), 0.5, 0.9)
    events.epoch_done([Epoch(step=2, seconds=1.0, loss=0.7, learning_rate=1e-3, dice={"liver": 0.5})])
    events.writer.close()
    assert list((tmp_path / "events").glob("*tfevents*"))
