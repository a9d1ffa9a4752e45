"""The row of one organ of one case: numbers worked by hand, and each kind of empty."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from phantom_labels import ORGANS, body, labelmap

from abdoseg.evaluation.metric_table import METRICS
from abdoseg.evaluation.score import EvaluationOptions
from abdoseg.evaluation.score_case import score_case
from abdoseg.metrics import confusion, detect, surface_distances


def scored(truth, prediction, options=None, **kwargs):
    with ThreadPoolExecutor(2) as pool:
        pair = [labelmap(labels, **kwargs) if labels is not None else None for labels in (truth, prediction)]
        found = score_case("case", *pair, options or EvaluationOptions(), pool)
    return found, {score.organ: score for score in found.scores}


def test_every_number_is_that_of_the_masks_alone():
    truth, prediction = body(), body(1)
    _, scores = scored(truth, prediction)
    assert list(scores) == ["liver", "kidney_right", "kidney_left", "spleen"]
    for label, organ in list(ORGANS.items())[:4]:
        a, b, score = truth == label, prediction == label, scores[organ]
        distances = surface_distances(a, b, (1, 1, 2))
        assert score.confusion == confusion(a, b)
        assert score.hausdorff_mm == distances.hausdorff()
        assert score.hd95_mm == distances.hausdorff(95)
        assert score.assd_mm == pytest.approx(distances.assd())
        assert score.nsd == distances.nsd(5 if organ == "liver" else 3)
        assert score.status == "true_positive"


def test_volumes_are_in_millilitres_of_true_voxels():
    truth = body()
    prediction = truth.copy()
    prediction[2, 8:16, 4:12] = 0  # an eighth of the liver
    _, scores = scored(truth, prediction)
    liver = scores["liver"]
    assert liver.truth_ml == pytest.approx(512 * 2 / 1000)
    assert METRICS["difference_ml"].value(liver) == pytest.approx(-64 * 2 / 1000)
    assert liver.difference_percent == pytest.approx(-12.5)


@pytest.mark.parametrize("surface", ["border", "elements"])
def test_each_kind_of_empty_has_its_status_and_values(surface):
    truth, prediction = body(), body()
    prediction[truth == 1] = 0
    truth[truth == 2] = 0
    truth[truth == 3] = prediction[prediction == 3] = 0
    _, scores = scored(truth, prediction, EvaluationOptions(surface=surface))
    assert {organ: score.status for organ, score in scores.items()} == {
        "liver": "false_negative",
        "kidney_right": "false_positive",
        "kidney_left": "true_negative",
        "spleen": "true_positive",
    }
    for organ in ("liver", "kidney_right"):
        values = {name: metric.value(scores[organ]) for name, metric in METRICS.items()}
        assert [values[n] for n in ("dice", "iou", "jaccard", "precision", "recall", "nsd")] == [0] * 6
        assert [values[n] for n in ("hausdorff_mm", "hd95_mm", "assd_mm")] == [math.inf] * 3
    assert METRICS["difference_percent"].value(scores["liver"]) == -100
    assert math.isnan(METRICS["difference_percent"].value(scores["kidney_right"]))
    absent = {name: metric.value(scores["kidney_left"]) for name, metric in METRICS.items()}
    assert absent["accuracy"] == 1
    assert absent["difference_ml"] == 0
    undefined = ("dice", "iou", "precision", "recall", "nsd", "hausdorff_mm", "hd95_mm", "assd_mm")
    assert all(math.isnan(absent[name]) for name in undefined)


def test_a_missing_prediction_counts_as_nothing_found():
    found, scores = scored(body(), None)
    assert {score.status for score in scores.values()} == {"no_prediction"}
    assert scores["liver"].confusion.dice == 0
    assert scores["liver"].confusion.fn == 512
    assert found.histogram.sum() == body().size


def test_of_a_missing_prediction_an_organ_that_the_truth_has_not_either_is_no_miss():
    truth = body()
    truth[truth == 3] = 0
    _, scores = scored(truth, None)
    assert [scores[organ].status for organ in ("kidney_right", "kidney_left")] == ["no_prediction", "true_negative"]


def test_the_liver_includes_its_tumour_unless_told_otherwise():
    truth, prediction = body(), body()
    truth[4:7, 10:13, 6:9] = 5
    _, scores = scored(truth, prediction)
    assert scores["liver"].confusion.dice == 1
    assert scores["liver_tumour"].status == "false_negative"
    _, apart = scored(truth, prediction, EvaluationOptions(lesions_apart=True))
    assert apart["liver"].confusion.fp == 27


def test_tumours_are_counted_and_weighed():
    truth, prediction = body(), body()
    truth[3:5, 9:11, 5:7] = truth[7:9, 13:15, 9:11] = 5
    prediction[3:5, 9:11, 5:7] = prediction[8, 9, 5] = 5
    _, scores = scored(truth, prediction)
    tumour = scores["liver_tumour"]
    assert tumour.lesions == detect(truth == 5, prediction == 5)
    assert [METRICS[f"lesion_{n}"].value(tumour) for n in ("tp", "fp", "fn", "f1")] == [1, 1, 1, 0.5]
    assert tumour.burden == (pytest.approx(100 * 16 / 512), pytest.approx(100 * 9 / 512))
    assert math.isnan(METRICS["lesion_f1"].value(scores["liver"]))


def test_organs_that_the_truth_cannot_name_are_not_compared():
    with ThreadPoolExecutor(1) as pool:
        truth = labelmap(np.where(body() == 1, 1, 0).astype(np.uint8), organs={1: "liver", 5: "liver_tumour"})
        found = score_case("case", truth, labelmap(body()), EvaluationOptions(), pool)
    assert [score.organ for score in found.scores] == ["liver"]


def test_tolerances_are_the_organs_own_or_those_asked_for():
    assert EvaluationOptions().tolerance_mm("liver") == 5
    assert EvaluationOptions().tolerance_mm("kidney_left") == EvaluationOptions().tolerance_mm("spleen") == 3
    assert EvaluationOptions(tolerances_mm={"liver": 1}).tolerance_mm("liver") == 1
    _, scores = scored(body(), body(2), EvaluationOptions(tolerances_mm={"liver": 1}))
    assert scores["liver"].nsd < 1
    assert scores["spleen"].nsd == 1


def test_memory_order_changes_nothing():
    plain, _ = scored(body(), body(2))
    turned, _ = scored(np.asfortranarray(body()), body(2))
    for one, other in zip(plain.scores, turned.scores, strict=True):
        values = [[metric.value(score) for metric in METRICS.values()] for score in (one, other)]
        assert values[0] == pytest.approx(values[1], nan_ok=True)


def test_a_single_slice_has_contours():
    truth, prediction = np.zeros((2, 10, 10, 1), np.uint8)
    truth[2:7, 2:7] = 1
    prediction[2:7, 3:8] = 1
    _, scores = scored(truth, prediction)
    flat = surface_distances(truth[..., 0] == 1, prediction[..., 0] == 1, (1, 1))
    assert scores["liver"].assd_mm == flat.assd()
    assert len(flat.truth_mm) == 16


def test_a_tilted_gantry_is_measured_as_it_is():
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 0.8
    found, scores = scored(body(), body(1), affine=affine)
    distances = surface_distances(body() == 1, body(1) == 1, affine[:3, :3])
    assert scores["liver"].assd_mm == pytest.approx(distances.assd())
    assert found.notes == ()
    found, _ = scored(body(), body(1), EvaluationOptions(surface="elements"), affine=affine)
    assert "off right angles" in found.notes[0]
