"""Comparison of recipes: rows from finished runs, with values worked by hand."""

import csv
import math
from dataclasses import replace

import pytest
from tiny import RECIPE

from abdoseg.training.experiments.comparison import columns, read_result, text_table, values, write_comparison
from abdoseg.training.history import Epoch, append
from abdoseg.training.pixel_metrics import PixelMetrics


@pytest.fixture
def result(tmp_path):
    """Two epochs, the first of which was better; kidneys learnt as one."""
    config = replace(RECIPE, organs=("liver", "kidney"), output_organs=("liver", "kidney"))
    (tmp_path / "recipe.json").write_text(config.to_json())
    for step, dice, jaccard in ((2, 0.8, 0.7), (4, 0.6, 0.5)):
        epoch = Epoch(
            step=step, seconds=60.0 * step, loss=1.0 / step, learning_rate=1e-3, dice={"liver": dice},
            validation=PixelMetrics(jaccard=jaccard),
        )  # fmt: skip
        append(tmp_path / "log.csv", epoch, config.organs)
    (tmp_path / "scores.csv").write_text("case,organ,dice\na,liver,0.9\nb,liver,0.7\na,kidney,0.5\n")
    return read_result(tmp_path)


def test_a_row_has_the_best_epochs_metrics_and_the_mean_over_cases_of_each_organ(result):
    names = columns([result])
    row = dict(zip(names, values(result, names), strict=True))
    assert (row["recipe"], row["steps"], row["minutes"]) == ("default", 4, 4.0)
    assert row["dice_liver"] == pytest.approx(0.8) and row["dice_kidney_left"] == row["dice_kidney_right"] == 0.5
    assert row["mean_dice"] == pytest.approx(0.6) and row["val_jaccard"] == 0.7
    assert row["s_per_megavoxel"] == pytest.approx(240 / (4 * 2 * 16**3 / 1e6)) and math.isnan(row["train_recall"])


def test_an_organ_that_a_recipe_lacks_is_empty_in_text_and_csv(result, tmp_path):
    other = replace(result, recipe="other", dice={"spleen": 0.25})
    lines = text_table([result, other]).splitlines()
    assert len(lines) == 4 and lines[3].startswith("| other | 4 | 4.000 |") and "|  |" in lines[2]
    write_comparison(tmp_path, [result, other], "abdoseg train")
    with (tmp_path / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert (rows[0]["dice_spleen"], rows[1]["dice_spleen"], rows[1]["dice_liver"]) == ("", "0.250", "")
    page = (tmp_path / "comparison.html").read_text()
    assert "abdoseg train" in page and "Training loss" in page and "https://" not in page
