"""The official FLARE22 script's numbers, and why they differ from ours."""

import math

import nibabel as nib
import numpy as np
import pytest
from phantom_labels import body, write

from abdoseg.evaluation import EvaluationOptions, ReadOptions, evaluate, find_pairs
from abdoseg.evaluation.flare import OFFICIAL, official_numbers, official_scores, official_table

FLARE = ReadOptions("flare22", "flare22")


def flare_body(shift=0):
    """FLARE22's numbers: liver 1, right kidney 2, spleen 3, left kidney 13, and an aorta 5 on slices 2 to 13."""
    labels = np.array([0, 1, 2, 13, 3], np.uint8)[body(shift)]
    labels[11:13, 3 + shift : 5 + shift, 2:14] = 5
    return labels


def run(folder, truth, prediction, reading=FLARE, spacing=(0.9, 0.9, 2.5), **kwargs):
    write(folder / "gt" / "c.nii.gz", truth, spacing)
    write(folder / "pred" / "c.nii.gz", prediction, spacing)
    return evaluate(find_pairs(folder / "pred", folder / "gt"), reading=reading, threads=2, **kwargs)


def by_organ(evaluation):
    return {row.organ: row for row in official_scores(evaluation, official_numbers(evaluation))}


def official_csv(evaluation):
    return official_table(evaluation, official_numbers(evaluation))


def test_an_organ_in_neither_is_1_and_in_the_prediction_alone_0(tmp_path):
    truth, prediction = flare_body(), flare_body()
    truth[truth == 3] = 0
    truth[truth == 13] = prediction[prediction == 13] = 0
    rows = by_organ(run(tmp_path, truth, prediction))
    assert (rows["spleen"].dsc, rows["spleen"].nsd) == (0, 0)
    table = official_csv(run(tmp_path, truth, prediction))[0]
    assert (table["LK_DSC"], table["LK_NSD"], table["Pancreas_DSC"]) == (1, 1, 1)
    assert (table["Spleen_DSC"], table["Liver_DSC"]) == (0, 1)


def test_aorta_is_looked_at_on_the_truths_slices_without_the_last(tmp_path):
    truth, prediction = flare_body(), flare_body()
    prediction[11:13, 3:5, :] = 5  # beyond the truth, above and below
    prediction[11:13, 3:5, 13] = 0  # wrong on the truth's last slice
    row = by_organ(run(tmp_path, truth, prediction))["aorta"]
    assert (row.dsc, row.nsd) == (1, 1)
    assert row.ours_dice == pytest.approx(2 * 44 / (48 + 60))
    assert "slices" in row.why


def test_an_aorta_on_one_slice_only_is_not_a_number(tmp_path):
    truth, prediction = flare_body(), flare_body()
    for labels in (truth, prediction):
        labels[labels == 5] = 0
        labels[11:13, 3:5, 7] = 5
    assert math.isnan(by_organ(run(tmp_path, truth, prediction))["aorta"].dsc)


def test_why_is_reported_where_numbers_differ_and_only_there(tmp_path):
    wide = (2.0, 2.0, 2.5)  # two voxels are more than the kidneys' 3 mm
    rows = by_organ(run(tmp_path, flare_body(), flare_body(2), spacing=wide))
    assert rows["kidney_left"].nsd != pytest.approx(rows["kidney_left"].ours_nsd, abs=1e-4)
    assert rows["kidney_left"].why == "surface elements against border voxels"
    alike = by_organ(
        run(tmp_path, flare_body(), flare_body(2), spacing=wide, options=EvaluationOptions(surface="elements"))
    )
    assert {row.why for organ, row in alike.items() if organ != "aorta"} == {""}


def test_labels_above_255_wrap_as_in_the_scripts_eight_bits(tmp_path):
    truth, prediction = flare_body(), flare_body().astype(np.uint16)
    prediction[prediction == 1] = 257  # 1 in eight bits: the liver
    prediction[prediction == 3] = 300  # 44 in eight bits: nothing
    found = run(tmp_path, truth, prediction)
    assert found.unknown["prediction"] == {257: ["c"], 300: ["c"]}
    rows = by_organ(found)
    assert (rows["liver"].dsc, rows["liver"].nsd, rows["liver"].ours_dice) == (1, 1, 0)
    assert rows["liver"].why == "labels above 255 wrap in the script"
    assert (rows["spleen"].dsc, rows["kidney_right"].dsc) == (0, 1)


def test_tumours_are_part_of_the_liver_here_and_not_in_the_script(tmp_path):
    truth, prediction = flare_body(), flare_body()
    truth[4:6, 10:12, 6:8] = prediction[4:6, 10:12, 7:9] = 99
    scheme = {1: "liver", 99: "liver_tumour"}
    rows = by_organ(run(tmp_path, truth, prediction, ReadOptions(scheme, scheme)))
    assert rows["liver"].ours_dice == 1
    assert rows["liver"].dsc == round(1 - 4 / 504, 4)
    assert "lesions are part of it here" in rows["liver"].why
    assert "liver_tumour" not in rows


def test_the_script_compares_arrays_whatever_their_affines(tmp_path):
    write(tmp_path / "gt" / "c.nii.gz", flare_body())
    moved = np.diag([1.0, 1.0, 2.0, 1.0])
    moved[0, 3] = 1.0
    write(tmp_path / "pred" / "c.nii.gz", flare_body(), affine=moved)
    pairing = find_pairs(tmp_path / "pred", tmp_path / "gt")
    rows = by_organ(evaluate(pairing, reading=ReadOptions("flare22", "flare22", resample="nearest"), threads=1))
    assert rows["liver"].dsc == 1
    assert rows["liver"].ours_dice == pytest.approx(7 / 8)


def test_missing_predictions_are_left_out_as_the_script_does(tmp_path):
    write(tmp_path / "gt" / "other.nii.gz", flare_body())
    found = run(tmp_path, flare_body(), flare_body())
    assert [row["Name"] for row in official_csv(found)] == ["c.nii.gz"]
    assert {row.case for row in official_scores(found, official_numbers(found))} == {"c"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the package asks scipy for names that have moved
def test_the_script_itself_gives_the_same_numbers(tmp_path):
    pytest.importorskip("surface_distance", reason="surface-distance is not installed")
    from surface_distance import metrics

    rng = np.random.default_rng(5)
    truth, prediction = flare_body(), flare_body(1)
    prediction[rng.random(prediction.shape) < 0.02] = 0
    table = official_csv(run(tmp_path, truth, prediction, spacing=(0.6, 0.6, 2.5)))[0]
    zooms = nib.load(tmp_path / "gt" / "c.nii.gz").header.get_zooms()
    numbers = {"Liver": 1, "RK": 2, "Spleen": 3, "Aorta": 5, "LK": 13}
    for name, _, tolerance in OFFICIAL:
        if name not in numbers:
            continue
        a, b = truth == numbers[name], prediction == numbers[name]
        if name == "Aorta":
            a, b = a[:, :, 2:13], b[:, :, 2:13]
        distances = metrics.compute_surface_distances(a, b, zooms)
        assert table[f"{name}_DSC"] == round(metrics.compute_dice_coefficient(a, b), 4)
        nsd = metrics.compute_surface_dice_at_tolerance(distances, tolerance)
        assert table[f"{name}_NSD"] == round(float(nsd), 4), name
