"""Reasons to look at an organ, from evidence and volumes worked by hand."""

from dataclasses import replace

import numpy as np
import pytest

from abdoseg.image.volume import Geometry
from abdoseg.image.volumetry import OrganVolume
from abdoseg.inference.postprocess import Changes
from abdoseg.quality import Evidence, Findings, assess, columns, sentences
from abdoseg.quality.confidence import predict
from abdoseg.quality.odd_parts import OddPart

GRID = Geometry((41, 20, 20), np.diag([10.0, 10.0, 10.0, 1.0]))
MIDDLE = 20.0
PLACES = {
    "liver": [(270, 170, 170), (262, 70, 70)],
    "kidney_right": [(262, 60, 60)],
    "kidney_left": [(130, 60, 60)],
    "spleen": [(125, 60, 65)],
}
VOLUMES = {"liver": 1500.0, "kidney_right": 150.0, "kidney_left": 160.0, "spleen": 200.0}


def case(middle=MIDDLE, removed=None, places=None, odd_parts=None, **rows):
    """Four healthy organs' rows and findings, some of the fields replaced; None takes an organ away."""
    evidence, corrections, listed = {}, {}, []
    for label, (organ, volume_ml) in enumerate(VOLUMES.items(), start=1):
        changed = rows.get(organ, {})
        changed = {"volume_ml": 0.0} if changed is None else dict(changed)
        confidence, dropped = changed.pop("confidence", 0.95), changed.pop("dropped_ml", 0.0)
        largest, fluid = changed.pop("largest_ml", 0.0), changed.pop("fluid_ml", 0.0)
        unclaimed = changed.pop("unclaimed_ml", 0.0)
        row = replace(OrganVolume(organ, label, 1000, volume_ml, 100.0, 20.0, ()), **changed)
        row = row if row.volume_ml else replace(row, voxels=0, mean_hu=None)
        listed.append(row)
        corrections[organ] = Changes(int(dropped > 0), dropped_ml=dropped, largest_ml=largest, fluid_ml=fluid)
        if row.voxels:
            points = np.array((places or {}).get(organ, PLACES[organ]), float)
            outer = np.ones(len(points), bool)
            evidence[organ] = Evidence(row.volume_ml, confidence, 0.2, 100.0, False, points, outer, unclaimed)
    return listed, Findings(evidence, corrections, removed or {}, GRID, middle, odd_parts or {})


def reasons(organ, **kwargs):
    return assess(*case(**kwargs))[organ].reasons


def test_four_healthy_organs_need_no_look():
    rows, findings = case()
    found = assess(rows, findings)
    assert not any(one.review for one in found.values())
    assert found["liver"].confidence == 0.95
    assert found["liver"].side == found["kidney_right"].side == "right"
    assert found["spleen"].side == "left"
    assert found["kidney_left"].neighbours == ("spleen",)
    assert found["liver"].expected_ml[0] < 1500 < found["liver"].expected_ml[1]
    assert sentences(rows, found, {}) == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"confidence": 0.8}, "doubtful"),
        ({"dropped_ml": 100.0}, "corrected"),
        ({"unclaimed_ml": 150.0}, "unclaimed"),
        ({"volume_ml": 400.0}, "small"),
        ({"volume_ml": 2600.0}, "hepatomegaly"),
        ({"mean_hu": -30.0}, "unusual_hu"),
        (None, "not_found"),
    ],
)
def test_each_reason_in_the_organ_itself_is_reported(changed, reason):
    rows, findings = case(liver=changed)
    quality = assess(rows, findings)
    assert quality["liver"].reasons == (reason,)
    assert quality["liver"].review
    (line,) = sentences(rows, quality, {})
    assert line.startswith("liver: ")


def test_what_was_dropped_is_reported_in_millilitres_and_percent():
    spleen = {"volume_ml": 250.0, "dropped_ml": 400.0, "largest_ml": 305.0, "fluid_ml": 50.0}
    rows, findings = case(spleen=spleen)
    quality = assess(rows, findings)
    assert quality["spleen"].reasons[:3] == ("corrected", "rival", "ascites")
    assert sentences(rows, quality, {})[:3] == [
        "spleen: 400 ml (160% of it) were changed by post-processing",
        "spleen: a piece of 305 ml (122% of it) was dropped",
        "spleen: 50 ml (20% of it) of fluid lay on it and were cut off: ascites?",
    ]
    others = reasons("spleen", spleen=spleen | {"largest_ml": 49.0, "fluid_ml": 0.0})
    assert "corrected" in others and not {"rival", "ascites"} & set(others)


def test_an_organ_that_may_be_poor_is_told_with_its_numbers():
    rows, findings = case(spleen={"confidence": 0.9})
    quality = assess(rows, findings)
    assert quality["spleen"].reasons == ("uncertain",) and quality["spleen"].p_below_85 >= 0.1
    assert (
        f"spleen: its Dice may be below .85 (probability {quality['spleen'].p_below_85:.2f}; "
        f"expected Dice {quality['spleen'].predicted_dice:.2f})"
    ) in sentences(rows, quality, {})


def test_what_a_dropped_piece_and_fluid_explain_is_told_once():
    spleen = {"volume_ml": 250.0, "dropped_ml": 360.0, "largest_ml": 305.0, "fluid_ml": 50.0}
    rows, findings = case(spleen=spleen)
    quality = assess(rows, findings)
    assert quality["spleen"].reasons[0] == "corrected"
    lines = sentences(rows, quality, {})
    assert lines[0].startswith("spleen: a piece of 305 ml") and lines[1].startswith("spleen: 50 ml")
    assert not any("post-processing" in line for line in lines)


def test_disease_is_told_by_its_numbers():
    odd = {"liver": OddPart(375.0, 29.4, 118.0, 1875.0), "kidney_right": OddPart(45.0, 7.0, 130.0, fluid=True)}
    rows, findings = case(odd_parts=odd, spleen={"volume_ml": 450.0}, kidney_left={"volume_ml": 60.0})
    quality = assess(rows, findings)
    assert {organ: one.reasons for organ, one in quality.items()} == {
        "liver": ("mass",),
        "kidney_right": ("hydronephrosis_or_cyst",),
        "kidney_left": ("atrophy", "unequal"),
        "spleen": ("splenomegaly",),
    }
    assert sentences(rows, quality, {}) == [
        (
            "liver: about 375 ml (20% of it) have 29 HU, the rest about 118: "
            "a tumour, a cyst, or a mass or fluid beside it?"
        ),
        "kidney right: about 45 ml (30% of it) of fluid (7 HU) in it or at it: a dilated pelvis or a cyst?",
        "kidney left: 60 ml is unusually small for an adult (healthy: 92 to 250 ml): atrophy?",
        "kidney left: less than half as large as the other one (60 ml, 150 ml)",
        "spleen: 450 ml is enlarged, more than 431 ml, for an adult (healthy: 81 to 393 ml): splenomegaly?",
    ]
    absent = assess(*case(odd_parts={"liver": OddPart(375.0, 29.4, 118.0)}, liver=None))
    assert absent["liver"].reasons == ("not_found",)


def test_a_cut_organ_is_not_called_small():
    rows, findings = case(liver={"volume_ml": 300.0, "touches": ("superior",)})
    assert assess(rows, findings)["liver"].reasons == ()
    assert "lower bound" in sentences(rows, assess(rows, findings), {})[0]


def test_sides_are_checked_where_the_middle_is_known():
    swapped = {"kidney_right": PLACES["kidney_left"], "kidney_left": PLACES["kidney_right"]}
    assert "wrong_side" in reasons("kidney_right", places=swapped)
    assert "misplaced" in reasons("kidney_left", places=swapped)
    assert "wrong_side" not in reasons("kidney_right", places=swapped, middle=None)
    assert assess(*case(middle=None))["liver"].side is None


def test_a_kidney_far_from_its_neighbour_is_apart():
    assert reasons("kidney_right", places={"kidney_right": [(262, 60, 10)]}) == ("apart",)
    assert reasons("kidney_left", places={"kidney_left": [(130, 110, 20)]}) == ("apart",)


def test_a_kidney_above_or_before_the_liver_is_misplaced():
    assert "misplaced" in reasons("kidney_right", places={"kidney_right": [(270, 120, 160)]})
    assert "misplaced" in reasons("liver", places={"kidney_left": [(130, 160, 60)]})


def test_a_kidney_less_than_half_the_other_is_unequal_if_both_are_whole():
    assert reasons("kidney_left", kidney_left={"volume_ml": 70.0}) == ("unequal",)
    assert reasons("kidney_left", kidney_left={"volume_ml": 70.0, "touches": ("inferior",)}) == ()


def test_what_was_removed_is_named_with_its_reason():
    rows, findings = case(spleen=None, removed={"spleen": "it is not there"})
    quality = assess(rows, findings)
    assert quality["spleen"].reasons == ("removed",)
    assert sentences(rows, quality, findings.removed) == ["spleen: removed, since it is not there"]


def test_a_scan_without_organs_says_so_once():
    rows, findings = case(
        liver=None, kidney_right=None, kidney_left=None, spleen=None, removed={"liver": "it is a heart"}
    )
    lines = sentences(rows, assess(rows, findings), findings.removed)
    assert lines == ["no organ was found for certain; removed: liver", "liver: removed, since it is a heart"]


def test_columns_are_text_for_a_csv():
    rows, findings = case(liver={"confidence": 0.8, "dropped_ml": 90.0})
    predicted = predict("liver", findings.evidence, findings.corrections["liver"])
    found = columns(assess(rows, findings))
    assert {name: column["liver"] for name, column in found.items()} == {
        "confidence": 0.8,
        "entropy": 0.2,
        "predicted_dice": predicted.dice,
        "p_below_85": predicted.p_poor,
        "pieces_dropped": 1,
        "dropped_ml": 90.0,
        "unclaimed_ml": 0.0,
        "expected_ml": "825..2010",
        "expected_hu": "-10..170",
        "side": "right",
        "neighbours": "kidney_right",
        "review": True,
        "reasons": "doubtful;corrected",
    }
