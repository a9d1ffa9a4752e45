"""The cohort table: all cases of all runs, the worst first, outliers named."""

import csv
import json

import pytest
from results import write_case, write_results

from abdoseg.cohort.table import CohortRow, organs_of, outliers, read_cohort, summary, write_table
from abdoseg.errors import OutputError, ScanError
from abdoseg.runtime.ledger import Ledger


def test_every_case_has_a_row_and_failures_come_first_then_what_wants_review(tmp_path):
    write_results(tmp_path, 12, failures=2, reports=1)
    rows = read_cohort(tmp_path)
    assert [row.status for row in rows] == ["failed"] * 2 + ["review"] * 3 + ["ok"] * 7
    assert rows[0] == CohortRow("case0000", "case0000.nii.gz: <no> scan", 3)
    flagged = rows[2]
    assert (flagged.case, flagged.seconds, flagged.reasons) == ("case0002", 1.5, {"spleen": ("large",)})
    assert flagged.report == "case0002_report.html" and rows[3].report is None
    assert organs_of(rows) == ["liver", "kidney_right", "kidney_left", "spleen"]


def test_a_case_whose_organs_are_cut_needs_no_review_and_its_volumes_count_as_none(tmp_path):
    write_results(tmp_path, 12)
    cut, mirrored, old = (tmp_path / f"case{number:04d}.json" for number in (9, 10, 11))
    sentence = "liver: reaches the scan's left border; its volume is a lower bound"
    record = json.loads(cut.read_text())
    cut.write_text(json.dumps(record | {"warnings": [sentence], "scan_warnings": []}))
    mirrored.write_text(json.dumps(record | {"warnings": ["mirrored", sentence], "scan_warnings": ["mirrored"]}))
    old.write_text(json.dumps(record | {"warnings": [sentence]}))  # of version 0.2, where nothing tells the two apart
    volumes = (tmp_path / "case0009_volumes.csv").read_text().splitlines()
    (tmp_path / "case0009_volumes.csv").write_text(
        "\n".join([f"{volumes[0]},touches", "liver,1,1,9.000,left", *(f"{row}," for row in volumes[2:])])
    )
    rows = {row.case: row for row in read_cohort(tmp_path)}
    assert [rows[f"case{number:04d}"].status for number in (9, 10, 11)] == ["ok", "review", "review"]
    assert rows["case0009"].cut == ("liver",) and rows["case0009"].whole_ml("liver") is None
    assert outliers(list(rows.values()), "liver") == []
    write_table(list(rows.values()), tmp_path / "cohort.csv")
    with (tmp_path / "cohort.csv").open() as file:
        assert {row["case"]: row["cut"] for row in csv.DictReader(file)}["case0009"] == "liver"


def test_shards_and_later_runs_count_by_what_was_last(tmp_path):
    write_results(tmp_path, 3, failures=1)
    write_case(tmp_path, "case0000", {"liver": 1500.0}, {})
    Ledger(tmp_path, "1/2").add("case0000", [])
    Ledger(tmp_path, "2/2").add("case0001", [], ScanError("gone"))
    assert {row.case: row.error for row in read_cohort(tmp_path)} == {
        "case0000": None, "case0001": "gone", "case0002": None,
    }  # fmt: skip


def test_of_cases_with_nothing_to_say_the_least_predicted_dice_comes_first(tmp_path):
    for case, dice in (("good", 0.97), ("poor", 0.6), ("fair", 0.9)):
        write_case(tmp_path, case, {"liver": 1500.0}, {}, dice)
    assert [(row.case, row.least_dice) for row in read_cohort(tmp_path)] == [
        ("poor", 0.6), ("fair", 0.9), ("good", 0.97),
    ]  # fmt: skip
    assert CohortRow("failed").least_dice is None


def test_records_alone_are_enough_and_what_others_wrote_is_passed_over(tmp_path):
    write_case(tmp_path, "a", {"liver": 1500.0}, {})
    (tmp_path / "package.json").write_text('{"versions": "none"}')
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[1]")
    assert [row.case for row in read_cohort(tmp_path)] == ["a"]


@pytest.mark.parametrize("name", ["quality", "seconds", "warnings"])
def test_a_damaged_record_is_passed_over_with_a_warning(tmp_path, name, caplog):
    write_case(tmp_path, "a", {"liver": 1500.0}, {})
    write_case(tmp_path, "b", {"liver": 1500.0}, {})
    record = json.loads((tmp_path / "b.json").read_text())
    (tmp_path / "b.json").write_text(json.dumps(record | {name: None}))
    assert [row.case for row in read_cohort(tmp_path)] == ["a"]
    assert "b.json: passed over, since it is damaged" in caplog.text


def test_a_folder_without_results_is_reported(tmp_path):
    with pytest.raises(OutputError, match="holds no results of abdoseg segment"):
        read_cohort(tmp_path)


def test_the_csv_has_a_row_a_case(tmp_path):
    write_results(tmp_path, 4, failures=1)
    write_table(read_cohort(tmp_path), tmp_path / "cohort.csv")
    with (tmp_path / "cohort.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0] | {"exit_code": 3} == dict.fromkeys(rows[0], "") | {
        "case": "case0000", "status": "failed", "exit_code": 3, "error": "case0000.nii.gz: <no> scan",
    }  # fmt: skip
    assert (rows[1]["case"], rows[1]["reasons"], rows[1]["spleen_ml"]) == ("case0001", "spleen: large", "2000.0")
    assert rows[1]["warnings"] == "spleen: look"
    assert (rows[1]["liver_predicted_dice"], rows[1]["spleen_predicted_dice"]) == ("0.97", "0.8")
    assert (rows[1]["liver_confidence"], rows[1]["seconds"], rows[1]["error"]) == ("0.95", "1.5", "")


def test_a_volume_far_from_the_others_is_an_outlier_and_among_a_few_none_is(tmp_path):
    rows = [
        CohortRow(str(n), volumes_ml={"liver": volume}) for n, volume in enumerate([10, 11, 12, 13, 14, 15, 16, 90])
    ]
    assert [row.case for row in outliers(rows, "liver")] == ["7"]
    assert outliers(rows[1:], "liver") == []
    assert outliers(rows, "spleen") == []


def test_two_lines_say_what_the_table_says(tmp_path):
    write_results(tmp_path, 12, failures=2)
    counts, volumes = summary(read_cohort(tmp_path))
    assert counts == "10 of 12 cases are done, 2 failed, 3 to review"
    assert volumes.startswith("median volumes: liver 1") and "(outliers: 1)" in volumes


def test_a_row_without_volumes_is_no_outlier_and_no_organ_is_reported():
    assert summary([CohortRow("a", "bad")]) == ["0 of 1 cases are done, 1 failed, 0 to review", "median volumes: none"]


def test_a_damaged_ledger_line_is_passed_over(tmp_path):
    write_results(tmp_path, 2)
    with (tmp_path / "ledger.jsonl").open("a") as file:
        file.write(json.dumps({"case": "x"}) + '\n{"case": "y", "sta')
    assert len(read_cohort(tmp_path)) == 2
