"""abdoseg follow on the command line."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from phantom_livers import Motion, grid, liver

from abdoseg.cli import commands
from abdoseg.errors import DatasetError, GeometryError, OutputError
from abdoseg.io import write_nifti

A, B, C = ((40, 10, 20), 12), ((-90, 30, 25), 9), ((10, -20, -50), 7)
MOVED = Motion((35, -20, 40), (6, -8, 10))


def run(*words):
    return CliRunner().invoke(commands, ["follow", *map(str, words)], standalone_mode=False)


def segmented(folder, case, lesions, motion=None, **shape):
    """What `segment --tumour` leaves of a case, and its scan."""
    folder.mkdir(exist_ok=True)
    found = liver(
        grid() if motion is None else grid(motion.shift_mm, (3.0, 3.0, 5.0), "LPS"),
        lesions,
        motion or Motion(),
        **shape,
    )
    write_nifti(found.labels, found.stored, folder / f"{case}_seg.nii.gz")
    hu = np.array([-100, 100, 150, 150, 120, 60], np.int16)[found.labels]
    write_nifti(hu, found.stored, folder / f"{case}.nii.gz")
    record = {"versions": {"abdoseg": "0"}, "labels": "abdoseg", "scan": f"{case}.nii.gz",
              "model": {"organs": list(found.organs.values())}}  # fmt: skip
    (folder / f"{case}.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    """Folders before and after: of one patient a lesion vanished and one is new; the other's scans are two people's."""
    root = tmp_path_factory.mktemp("patients")
    segmented(root / "before", "one", [A, B])
    segmented(root / "after", "one", [A, C], MOVED)
    segmented(root / "before", "two", [A])
    segmented(root / "after", "two", [A], MOVED, lobes=[((0, 0, 0), (95, 40, 30))])
    segmented(root / "single", "later", [A, B], MOVED)
    return root


def test_tables_go_to_stdout_and_files_where_they_are_named(patients, tmp_path):
    one, page = tmp_path / "one.csv", tmp_path / "one.html"
    done = run(patients / "before" / "one.json", patients / "after" / "one.json", "-o", one, "--report", page)
    assert done.exception is None, done.exception
    for word in ("one: volumes", "one: lesions", "vanished", "new", "Dice 0.9", "liver with lesions, ml"):
        assert word in done.stdout
    with one.open() as file:
        volumes = {row["quantity"]: row for row in csv.DictReader(file)}
    assert float(volumes["spleen"]["difference_percent"]) == pytest.approx(0, abs=5)
    assert volumes["burden_percent"]["difference_percent"] == ""
    with (tmp_path / "one_lesions.csv").open() as file:
        lesions = list(csv.DictReader(file))
    assert [row["status"] for row in lesions] == ["matched", "vanished", "new"]
    assert lesions[2]["distance_mm"] == lesions[2]["difference_ml_percent"] == ""
    assert page.read_text(encoding="utf-8").count("data:image/jpeg") == 3
    assert isinstance(
        run(patients / "before" / "one.json", patients / "after" / "one.json", "-o", one).exception, OutputError
    )


def test_livers_that_do_not_fit_are_said_after_all_else_is_done(patients):
    done = run(patients / "before", patients / "after", "--json")
    assert isinstance(done.exception, GeometryError)
    assert "the lesions of two are not matched" in str(done.exception)
    one, two = json.loads(done.stdout)["cases"]
    assert [row["status"] for row in one["lesions"]] == ["matched", "vanished", "new"]
    assert {row["status"] for row in two["lesions"]} == {"not_compared"}
    assert "warning: two: after registration the livers overlap by a Dice of" in done.stderr


def test_several_patients_have_a_row_each_and_their_own_tables_in_files(patients, tmp_path):
    page = tmp_path / "both.html"
    done = run(patients / "before", patients / "after", "--report", page)
    assert "one: volumes" not in done.stdout and "two time points" in done.stdout
    rows = {line.split()[1]: line for line in done.stdout.splitlines() if line.count("│") > 5}
    assert "lesions not matched" not in rows["one"] and "not" in rows["two"]
    html = page.read_text(encoding="utf-8")
    assert "<h2>Patients" in html and html.count("lesions not matched") == 1


def test_a_labelmap_that_was_searched_and_shows_no_lesion_has_none(patients, tmp_path):
    before = segmented(tmp_path / "baseline", "one", [], MOVED)
    (before / "one.json").unlink()
    before /= "one_seg.nii.gz"
    done = run(before, patients / "after" / "one.json", "--json")
    assert {row["status"] for row in json.loads(done.stdout)["cases"][0]["lesions"]} == {"not_compared"}
    assert "say with --searched" in done.stderr
    (found,) = json.loads(run(before, patients / "after" / "one.json", "--searched", "before", "--json").stdout)[
        "cases"
    ]
    assert [row["status"] for row in found["lesions"]] == ["new", "new"]
    burden = next(row for row in found["volumes"] if row["quantity"] == "burden_percent")
    assert burden["before"] == 0 and burden["after"] > 0


def test_a_table_of_no_lesions_has_its_header(tmp_path):
    before, after = (segmented(tmp_path / when, "one", [], MOVED) for when in ("before", "after"))
    assert run(before, after, "-o", tmp_path / "one.csv").exception is None
    assert (tmp_path / "one_lesions.csv").read_text().startswith("case,status,before,after,before_ml,")


def test_a_patient_with_two_names_is_compared_where_both_are_named(patients):
    done = run(patients / "before" / "one_seg.nii.gz", patients / "single", "--json")
    assert done.exception is None
    (found,) = json.loads(done.stdout)["cases"]
    assert (found["case"], found["before"], found["after"]) == ("one and later", "one", "later")
    assert [row["status"] for row in found["lesions"]] == ["matched", "matched"]


def test_folders_without_a_common_case_are_an_error(patients, tmp_path):
    assert isinstance(run(patients / "before", patients / "single").exception, DatasetError)
    assert isinstance(run(patients / "before", tmp_path / "none").exception, DatasetError)
