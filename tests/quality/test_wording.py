"""Quality in words: the numbers of each warning, and what is not said twice."""

from phantom_findings import case

from abdoseg.quality import assess, sentences
from abdoseg.quality.odd_parts import OddPart


def test_healthy_organs_need_no_words():
    rows, findings = case()
    assert sentences(rows, assess(rows, findings), {}) == []


def test_an_organ_that_the_scan_cuts_has_a_lower_bound():
    rows, findings = case(liver={"volume_ml": 300.0, "touches": ("superior",)})
    (line,) = sentences(rows, assess(rows, findings), {})
    assert line == "liver: reaches the scan's superior border; its volume is a lower bound"


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
        "right kidney: about 45 ml (30% of it) of fluid (7 HU) in it or at it: a dilated pelvis or a cyst?",
        "left kidney: 60 ml is unusually small for an adult (healthy: 92 to 250 ml): atrophy?",
        "left kidney: less than half as large as the other one (60 ml, 150 ml)",
        "spleen: 450 ml is enlarged, more than 431 ml, for an adult (healthy: 81 to 393 ml): splenomegaly?",
    ]


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
