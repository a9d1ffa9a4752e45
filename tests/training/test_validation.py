"""Validation: scores worked by hand on a handful of voxels, and logs from before a column was added."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import RECIPE, packed

from abdoseg.model.weights import build_network
from abdoseg.training import validation
from abdoseg.training.data.cache import PreparedCase
from abdoseg.training.history import Epoch, append, read_log
from abdoseg.training.validation import Prediction, mean_of, pooled, predict, score_case, validate

LAST = Epoch(
    step=4, seconds=3.0, loss=0.5, learning_rate=1e-3, dice={"liver": 0.7}, accuracy=0.9, iou=0.5, iou_at_half=0.4
)
TWO = replace(RECIPE, organs=("liver", "spleen"), output_organs=("liver", "spleen"))


def case(tmp_path: Path, labels: list[int]) -> PreparedCase:
    np.save(tmp_path / "c.labels.npy", np.array(labels, np.uint8).reshape(-1, 1, 1))
    return PreparedCase(
        "c", (len(labels), 1, 1), (1.0, 1.0, 1.0), ("liver", "spleen"), {"labels": ""}, "", folder=tmp_path
    )


def guess(channels: list[int], sure: list[bool]) -> Prediction:
    return Prediction(np.array(channels, np.uint8).reshape(-1, 1, 1), np.array(sure).reshape(-1, 1, 1))


def test_dice_iou_and_accuracy_count_the_likeliest_and_iou_at_half_only_what_is_sure(tmp_path):
    packed = case(tmp_path, [0, 1, 1, 1, 4])  # a voxel of background, three of liver, one of spleen
    score = score_case(guess([1, 1, 1, 0, 2], [False, True, False, True, True]), packed, TWO)
    assert score.dice == {"liver": pytest.approx(4 / 6), "spleen": 1.0}
    assert score.accuracy == pytest.approx(3 / 5) and score.iou == pytest.approx((2 / 4 + 1) / 2)
    assert score.iou_at_half == pytest.approx((1 / 3 + 1) / 2)  # of the liver one sure voxel of three


def test_an_organ_that_is_not_there_is_not_scored(tmp_path):
    score = score_case(guess([2, 1], [True, True]), case(tmp_path, [0, 1]), TWO)
    assert score.dice == {"liver": 1.0} and score.iou_at_half == 1.0
    assert np.isnan(mean_of([]))


def test_the_loss_of_a_scan_is_the_recipes_and_metrics_pool_the_voxels_of_all_cases(tmp_path):
    cache = packed(tmp_path, 2, ("liver", "spleen"))
    torch.manual_seed(0)
    network = build_network(RECIPE.plan().network).eval()
    scores = validate(network.state_dict(), RECIPE, cache, ["case0", "case1"], torch.device("cpu"))
    assert all(score.loss > 0 for score in scores)
    assert scores[0].confusion.sum() == np.prod(cache.cases[0].shape)
    assert not scores[0].confusion[:, 2:4].any()  # nobody looked for kidneys: what is called so counts as background
    found = pooled(scores)
    assert found.loss == pytest.approx((scores[0].loss + scores[1].loss) / 2)
    table = scores[0].confusion + scores[1].confusion
    assert found.accuracy == pytest.approx(np.trace(table) / table.sum()) and np.isnan(pooled([]).loss)


def test_a_long_scan_in_slabs_is_guessed_as_in_one_piece_where_the_margin_suffices(tmp_path, monkeypatch):
    one = packed(tmp_path, 1).cases[0]
    torch.manual_seed(0)
    network = build_network({**RECIPE.network, "classes": 5, "norm": "none"}).eval()
    whole = predict(network, one, RECIPE, torch.device("cpu"))
    monkeypatch.setattr(validation, "MARGIN", 2)
    monkeypatch.setattr(validation, "SLAB_VOXELS", 1)
    parts = predict(network, one, RECIPE, torch.device("cpu"))
    assert whole.channels.shape == parts.channels.shape == one.shape and whole.confident.dtype == bool
    assert (whole.channels == parts.channels).mean() > 0.95 and (whole.confident == parts.confident).mean() > 0.95


def test_a_log_from_before_a_column_was_added_is_read_and_goes_on_with_it(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "step,seconds,loss,learning_rate,accuracy,mean_iou,dice_liver,weights\n"
        "2,1.5,0.700000,0.001,0.9000,0.5000,0.6000,abc\n4,2.5,0.600000,0.001,0.9000,0.5000,,abc\n"
    )
    epochs = read_log(path, until_step=2)
    assert [(e.step, e.iou, e.dice) for e in epochs] == [(2, 0.5, {"liver": 0.6})] and np.isnan(epochs[0].train.dice)
    append(path, LAST, ["liver"])
    lines = path.read_text().splitlines()
    assert (
        lines[0].split(",")[6] == "iou_at_0.5" and lines[1].split(",")[6] == "" and lines[2].split(",")[6] == "0.4000"
    )
