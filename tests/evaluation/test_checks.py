"""Checks on rows and cohorts: what contradicts itself stops the run, what is odd is pointed at."""

from dataclasses import replace

import pytest

from abdoseg.evaluation.checks import InconsistentScore, check_identities, repeated_values
from abdoseg.evaluation.score import Score
from abdoseg.metrics import Confusion

GOOD = Score("c0", "liver", "true_positive", Confusion(8, 1, 2, 89), 0.001, "border", 4.0, 2.0, 1.0, 0.9, 5.0)


class Claimed(Confusion):
    """A confusion whose published ratios do not follow from its counts."""

    iou = 0.93
    precision = 0.48


def test_a_row_that_is_right_passes():
    check_identities(GOOD)


@pytest.mark.parametrize(
    ("change", "claim"),
    [
        ({"hd95_mm": 5.0}, "HD95 at most HD"),
        ({"assd_mm": -1.0}, "0 at most every distance"),
        ({"nsd": 1.2}, "within 0 and 1"),
        ({"confusion": Claimed(8, 1, 2, 89)}, "J at most precision"),
        ({"confusion": Claimed(8, 1, 2, 89)}, "J = D / (2 - D)"),
    ],
)
def test_a_row_that_contradicts_itself_stops_the_run(change, claim):
    with pytest.raises(InconsistentScore) as caught:
        check_identities(replace(GOOD, **change))
    assert claim in str(caught.value)
    assert "c0, liver" in str(caught.value)


def test_the_same_dice_in_every_case_is_pointed_at():
    rows = [replace(GOOD, case=f"c{n}", confusion=Confusion(n, n, n, 9), nsd=n / 9, hd95_mm=n) for n in (1, 2, 3)]
    assert any(
        text.startswith("liver: Dice is 0.5000, ") and "in all 3 cases" in text for text in repeated_values(rows)
    )
    assert repeated_values(rows[:2]) == []


def test_the_same_dice_in_several_organs_of_a_case_is_pointed_at():
    rows = [replace(GOOD, organ=organ) for organ in ("liver", "spleen")]
    assert any("liver and spleen" in text for text in repeated_values(rows))
