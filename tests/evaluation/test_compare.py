"""Models compared case by case: pairs, p values, missing cases."""

import math

import numpy as np
import pytest
from phantom_labels import body, cohort, write
from scipy import stats

from abdoseg.evaluation import evaluate, find_pairs
from abdoseg.evaluation.compare import differences, holm


def models(folder, first, second):
    found = {}
    for name, shifts in (("first", first), ("second", second)):
        cohort(folder / name, shifts)
        found[name] = evaluate(find_pairs(folder / name / "pred", folder / name / "gt"), threads=2)
    return found


def test_differences_are_paired_by_case(tmp_path):
    first, second = [1, 2, 3, 0, 2, 1, 3], [0, 1, 1, 0, 1, 2, 1]
    rows = differences(models(tmp_path, first, second))
    liver = next(row for row in rows if (row.organ, row.metric) == ("liver", "dice"))
    change = (np.array(first) - np.array(second)) / 8
    assert liver.mean == pytest.approx(change.mean())
    assert (liver.wins, liver.losses, liver.cases) == (5, 1, 7)
    assert liver.low <= liver.mean <= liver.high
    assert liver.p == pytest.approx(stats.wilcoxon(change, zero_method="pratt").pvalue)
    assert liver.p_holm >= liver.p
    hd95 = next(row for row in rows if (row.organ, row.metric) == ("liver", "hd95_mm"))
    assert hd95.mean < 0
    assert (hd95.wins, hd95.losses) == (5, 1)


def test_few_pairs_have_no_p(tmp_path):
    rows = differences(models(tmp_path, [1, 2, 3], [0, 0, 0]))
    assert all(math.isnan(row.p) and math.isnan(row.p_holm) for row in rows)
    assert rows[0].mean > 0


def test_a_missing_case_is_a_loss_and_infinite_distances_stay_out_of_means(tmp_path):
    rows = differences(models(tmp_path, [1] * 7, [1] * 6 + [None]))
    hd95 = next(row for row in rows if (row.organ, row.metric) == ("liver", "hd95_mm"))
    assert (hd95.cases, hd95.infinite, hd95.losses) == (7, 1, 1)
    assert hd95.mean == 0
    dice = next(row for row in rows if (row.organ, row.metric) == ("liver", "dice"))
    assert dice.mean == pytest.approx(-7 / 8 / 7)


def test_equal_models_do_not_differ(tmp_path):
    rows = differences(models(tmp_path, [1] * 6, [1] * 6))
    assert {row.p for row in rows} == {1.0}
    assert {row.mean for row in rows} == {0.0}


def test_an_organ_that_only_one_model_predicts_is_compared_where_both_have_rows(tmp_path):
    found = models(tmp_path, [0] * 6, [0] * 6)
    with_pancreas = body()
    with_pancreas[21:23, 1:3, 1:3] = 6
    write(tmp_path / "second" / "pred" / "c0_seg.nii.gz", with_pancreas)
    found["second"] = evaluate(find_pairs(tmp_path / "second" / "pred", tmp_path / "second" / "gt"), threads=2)
    assert "pancreas" not in {row.organ for row in differences(found)}


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03, math.nan]) == pytest.approx([0.03, 0.06, 0.06, math.nan], nan_ok=True)
