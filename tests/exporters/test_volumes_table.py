"""Tables of volumes: of a case, and of a cohort long and wide."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from organs import make, relabelled, remapped

from abdoseg.exporters.job import export
from abdoseg.exporters.volumes_table import write_long, write_wide


def read(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_rows_are_segments_own_whatever_else_is_exported(tmp_path):
    job = make()
    (alone,) = export(job, tmp_path / "alone", ["csv"])
    *_, table = export(job, tmp_path, ["stl", "csv"])
    assert table.read_bytes() == alone.read_bytes()
    rows = read(table)
    assert [row["organ"] for row in rows] == list(job.labelmap.organs.values())
    for row in rows:
        assert row["mean_hu"] == "100"
    assert (rows[3]["complete"], rows[3]["touches"]) == ("false", "left")
    assert (rows[0]["complete"], rows[0]["touches"]) == ("true", "")


def test_without_meshes_and_scan_there_are_volumes_all_the_same(tmp_path):
    (table,) = export(make(scan=None), tmp_path, ["csv"])
    assert list(read(table)[0]) == [
        "organ", "label", "voxels", "volume_ml", "mean_hu", "sd_hu", "complete", "touches",
        "with_lesions_ml", "burden_percent",
    ]  # fmt: skip
    assert read(table)[0]["mean_hu"] == ""


def test_a_cohort_is_a_long_table_and_a_wide_one(tmp_path):
    whole = make()
    none = relabelled(make(scan=None), np.zeros_like(whole.labelmap.labels))
    fewer = remapped(none, organs={1: "liver", 7: "aorta"})
    cohort = {"a": whole.rows, "b": fewer.rows}
    write_long(cohort, tmp_path / "long.csv")
    write_wide(cohort, tmp_path / "wide.csv")
    long, wide = read(tmp_path / "long.csv"), read(tmp_path / "wide.csv")
    assert [(row["case"], row["organ"]) for row in long[-3:]] == [("a", "liver_tumour"), ("b", "liver"), ("b", "aorta")]
    assert [row["case"] for row in wide] == ["a", "b"]
    assert float(wide[0]["liver_volume_ml"]) == pytest.approx(whole.rows[0].volume_ml, rel=1e-5)
    assert (wide[0]["aorta_volume_ml"], wide[1]["aorta_volume_ml"]) == ("", "0")
    assert wide[1]["spleen_volume_ml"] == ""


def test_the_quality_in_the_runs_record_stays_in_the_table(tmp_path):
    quality = {
        "confidence": 0.9, "entropy": 0.2, "predicted_dice": 0.93, "p_below_85": 0.02, "pieces_dropped": 1,
        "dropped_ml": 0.5, "largest_dropped_ml": 0.5, "fluid_ml": 0.0, "corrected_ml": 0.5, "unclaimed_ml": 0.0,
        "odd_part": None, "expected_ml": [825.0, 2010.0],
        "expected_hu": None, "side": "right", "neighbours": ["kidney_right"], "reasons": ["doubtful", "small"],
    }  # fmt: skip
    job = replace(make(), record={"quality": {"liver": quality | {"review": True}}})
    (table,) = export(job, tmp_path, ["csv"])
    liver, other = read(table)[:2]
    assert (liver["confidence"], liver["review"], liver["reasons"]) == ("0.9", "true", "doubtful;small")
    assert liver["expected_ml"] == "825..2010"
    assert other["review"] == other["reasons"] == ""
    (plain,) = export(replace(job, record={"quality": {"liver": {"confidence": 1}}}), tmp_path / "older", ["csv"])
    assert "review" not in read(plain)[0]
