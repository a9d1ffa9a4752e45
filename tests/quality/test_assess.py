"""Reasons to look at an organ, from evidence and volumes worked by hand."""

import pytest
from phantom_findings import PLACES, case

from abdoseg.quality import assess, columns
from abdoseg.quality.confidence import predict
from abdoseg.quality.odd_parts import OddPart


def reasons(organ, **kwargs):
    return assess(*case(**kwargs))[organ].reasons


def test_four_healthy_organs_need_no_look():
    found = assess(*case())
    assert not any(one.review for one in found.values())
    assert found["liver"].confidence == 0.95
    assert found["liver"].side == found["kidney_right"].side == "right"
    assert found["spleen"].side == "left"
    assert found["kidney_left"].neighbours == ("spleen",)
    assert found["liver"].expected_ml[0] < 1500 < found["liver"].expected_ml[1]


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
    quality = assess(*case(liver=changed))
    assert quality["liver"].reasons == (reason,)
    assert quality["liver"].review


def test_a_small_dropped_piece_is_no_rival():
    others = reasons("spleen", spleen={"volume_ml": 250.0, "dropped_ml": 400.0, "largest_ml": 49.0})
    assert "corrected" in others and not {"rival", "ascites"} & set(others)


def test_an_organ_that_is_not_found_has_no_odd_part():
    absent = assess(*case(odd_parts={"liver": OddPart(375.0, 29.4, 118.0)}, liver=None))
    assert absent["liver"].reasons == ("not_found",)


def test_a_cut_organ_is_not_called_small():
    assert reasons("liver", liver={"volume_ml": 300.0, "touches": ("superior",)}) == ()


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
