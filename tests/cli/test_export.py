"""abdoseg export: files beside the labelmap, the scan found or refused."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import click
import nibabel
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from abdoseg.anatomy.label_schemes import SCHEMES
from abdoseg.cli.export import export
from abdoseg.errors import GeometryError, OutputError, ScanError, UsageError
from abdoseg.exporters import EXPORTERS

AFFINE = np.array([[2.0, 0, 0, -60], [0, 2, 0, -40], [0, 0, 4, -30], [0, 0, 0, 1]])
SHAPE = (60, 40, 16)
VERSIONS = {"versions": {"abdoseg": "0.1.0"}}  # what tells our records from other tools'


def labels_of(numbers):
    labels = np.zeros(SHAPE, np.uint8)
    labels[38:55, 12:30, 6:13] = numbers["liver"]
    labels[40:46, 5:10, 2:6] = numbers["kidney_right"]
    labels[14:20, 5:10, 2:6] = numbers["kidney_left"]
    labels[:8, 8:18, 8:13] = numbers["spleen"]
    return labels


def hu_of(labels):
    """Noise of no bias about 120 in organs, 40 around them, and air at the corners."""
    hu = np.where(labels > 0, 120, 40) + np.where(np.indices(labels.shape).sum(axis=0) % 2, 7, -7)
    hu[:3, :3] = hu[-3:, :3] = -1000
    return hu.astype(np.int16)


OURS = {name: label for label, name in SCHEMES["abdoseg"].items()}


def save(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


@pytest.fixture
def out(tmp_path):
    """What `segment` leaves: a labelmap, and a record that names the scan by a path relative to itself."""
    labels = labels_of(OURS)
    save(tmp_path / "ct" / "one_0000.nii.gz", hu_of(labels))
    save(tmp_path / "out" / "one_seg.nii.gz", labels)
    record = {"scan": "../ct/one_0000.nii.gz", "labels": "abdoseg", "model": {"organs": ["liver", "spleen"]}}
    (tmp_path / "out" / "one.json").write_text(json.dumps(VERSIONS | record))
    return tmp_path / "out"


def run(*arguments, stdin=None):
    """Exit code, lines on stdout, text on stderr."""
    result = CliRunner().invoke(export, [str(a) for a in arguments], input=stdin, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.return_value, result.stdout.splitlines(), result.stderr


def rows(path):
    return list(csv.DictReader(Path(path).read_text().splitlines()))


def test_files_go_beside_the_labelmap_and_their_paths_to_stdout(out):
    code, lines, talk = run(out / "one_seg.nii.gz", "--stl", "--csv")
    assert code == 0
    organs = ("liver", "kidney_right", "kidney_left", "spleen")
    assert lines == [str(out / f"one_{organ}.stl") for organ in organs] + [str(out / "one_organs.csv")]
    assert all(Path(line).exists() for line in lines)
    assert talk == ""


def test_the_scan_is_found_through_the_record(out):
    _, (table,), _ = run(out / "one_seg.nii.gz", "--csv")
    assert [float(row["mean_hu"]) for row in rows(table)] == [120] * 4


def test_a_record_stands_for_its_labelmap_and_a_folder_of_results_for_all(out):
    for given in (out / "one.json", out):
        _, (table,), _ = run(given, "--csv", "--overwrite")
        assert (table, float(rows(table)[0]["mean_hu"])) == (str(out / "one_organs.csv"), 120)
    (out / "two.json").write_text(json.dumps(VERSIONS))
    save(out / "two_seg.nii.gz", labels_of(OURS))
    assert run(out, out / "one.json", "--stl", "--together")[1] == [str(out / "one.stl"), str(out / "two.stl")]


def test_a_scan_that_has_gone_is_reported_and_done_without(out):
    (out.parent / "ct" / "one_0000.nii.gz").unlink()
    _, (table,), talk = run(out / "one_seg.nii.gz", "--csv")
    assert "not there any more; name it with --scan" in talk
    assert rows(table)[0]["mean_hu"] == ""
    assert "--scan" not in run(out / "one_seg.nii.gz", "--stl")[2]
    (out / "one.json").unlink()
    assert "not known; name it with --scan" in run(out / "one_seg.nii.gz", "--csv", "--overwrite")[2]


def test_a_scan_on_another_grid_is_refused(out):
    other = save(out.parent / "other.nii.gz", hu_of(np.zeros((60, 40, 17))))
    with pytest.raises(GeometryError, match="belong together"):
        run(out / "one_seg.nii.gz", "--csv", "--scan", other)


def test_paths_come_from_a_pipe_and_what_segment_writes_beside_them_is_passed_over(out):
    listed = "\n".join(str(out / name) for name in ("one_seg.nii.gz", "one_volumes.csv", "one.json"))
    _, lines, _ = run("--csv", stdin=listed)
    assert lines == [str(out / "one_organs.csv")]


def test_a_cohort_gets_a_long_and_a_wide_table(out):
    save(out / "two_seg.nii.gz", labels_of(OURS))
    _, lines, _ = run(*sorted(out.glob("*_seg.nii.gz")), "--csv", "-o", out / "tables")
    names = ["one_organs.csv", "two_organs.csv", "volumes_long.csv", "volumes_wide.csv"]
    assert [Path(line).name for line in lines] == names
    assert [row["case"] for row in rows(lines[-1])] == ["one", "two"]
    assert len(rows(lines[-2])) == 8
    assert rows(lines[-2])[0]["volume_ml"] == rows(lines[-2])[4]["volume_ml"]


def test_one_bad_labelmap_costs_only_itself(out):
    (out / "bad_seg.nii.gz").write_text("no image")
    save(out / "two_seg.nii.gz", labels_of(OURS))
    code, lines, talk = run(*sorted(out.glob("*_seg.nii.gz")), "--csv")
    assert code == ScanError.exit_code
    assert "bad_seg.nii.gz" in talk
    assert [Path(line).name for line in lines[:2]] == ["one_organs.csv", "two_organs.csv"]


def test_labelmaps_of_other_tools_are_read_by_organ_name(out):
    numbers = {name: label for label, name in SCHEMES["totalseg"].items()}
    theirs = save(out / "theirs.nii.gz", labels_of(numbers))
    _, (table,), _ = run(theirs, "--csv", "--labels", "totalseg")
    ours = rows(run(out / "one_seg.nii.gz", "--csv")[1][0])
    assert [(row["organ"], row["voxels"]) for row in rows(table)] == [(row["organ"], row["voxels"]) for row in ours]


def test_the_records_scheme_is_known(out):
    numbers = {name: label for label, name in SCHEMES["flare22"].items()}
    save(out / "three_seg.nii.gz", labels_of(numbers))
    (out / "three.json").write_text(json.dumps(VERSIONS | {"labels": "flare22"}))
    _, (table,), _ = run(out / "three_seg.nii.gz", "--csv")
    assert rows(table)[0]["voxels"] == str((labels_of(OURS) == OURS["liver"]).sum())


def test_another_tools_json_beside_a_labelmap_is_not_taken_for_our_record(out):
    (out / "one.json").write_text('{"liver": 1, "labels": {"1": "spleen"}, "model": "x", "scan": [1]}')
    _, lines, _ = run(out / "one_seg.nii.gz", "--csv", "--report")
    assert rows(lines[0])[0]["organ"] == "liver"
    assert "How it was made" not in Path(lines[1]).read_text()


def test_a_folder_of_masks_is_a_labelmap(out):
    labels = labels_of(OURS)
    for organ in ("liver", "spleen"):
        save(out / "masks" / f"{organ}.nii.gz", (labels == OURS[organ]).astype(np.uint8))
    _, lines, _ = run(out / "masks", "--csv", "--stl")
    assert [Path(line).name for line in lines] == ["masks_liver.stl", "masks_spleen.stl", "masks_organs.csv"]
    with pytest.raises(UsageError, match=r"liver\.nii\.gz"):
        run(out.parent / "ct", "--csv")


def test_an_organ_looked_for_and_not_found_is_reported_and_has_a_row_of_zero(out):
    labels = labels_of(OURS)
    labels[labels == OURS["spleen"]] = 0
    save(out / "one_seg.nii.gz", labels)
    _, lines, talk = run(out / "one_seg.nii.gz", "--stl", "--csv")
    assert "spleen was not found" in talk
    assert not any("spleen" in line for line in lines)
    assert rows(lines[-1])[-1]["voxels"] == "0"


def test_existing_files_need_overwrite(out):
    run(out / "one_seg.nii.gz", "--csv")
    with pytest.raises(OutputError, match="--overwrite"):
        run(out / "one_seg.nii.gz", "--csv")
    assert run(out / "one_seg.nii.gz", "--csv", "--overwrite")[0] == 0


def test_json_is_one_object_a_case(out):
    _, (line,), _ = run(out / "one_seg.nii.gz", "--csv", "--json")
    assert json.loads(line) == {"case": "one", "outputs": [str(out / "one_organs.csv")]}


def test_the_truth_is_drawn_over_the_sheet(out):
    truth = save(out.parent / "truth" / "one.nii.gz", np.roll(labels_of(OURS), 2, axis=1))
    _, (plain,), _ = run(out / "one_seg.nii.gz", "--sheet")
    _, (both,), _ = run(out / "one_seg.nii.gz", "--sheet", "--truth", truth.parent, "-o", out / "b")
    with Image.open(plain) as first, Image.open(both) as second:
        assert first.size == second.size
        assert first.tobytes() != second.tobytes()


def test_a_folder_without_the_cases_truth_says_so(out):
    save(out.parent / "truth" / "two.nii.gz", labels_of(OURS))
    with pytest.raises(UsageError, match="nothing in this folder is named one"):
        run(out / "one_seg.nii.gz", "--sheet", "--truth", out.parent / "truth")


@pytest.mark.parametrize("window", ["liver", "-200:300"])
def test_windows_by_name_and_by_number(out, window):
    assert run(out / "one_seg.nii.gz", "--sheet", "--window", window)[0] == 0


@pytest.mark.parametrize("window", ["lungs", "300:-200", "1:2:3", "a:b"])
def test_a_window_that_is_none_is_refused(out, window):
    with pytest.raises(UsageError, match="LOW:HIGH"):
        run(out / "one_seg.nii.gz", "--sheet", "--window", window)


def test_no_format_is_a_usage_error_with_an_example(out):
    with pytest.raises(UsageError, match="--stl"):
        run(out / "one_seg.nii.gz")


def test_a_video_without_ffmpeg_is_refused_before_any_work(out, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match=r"abdoseg\[video\]"):
        run(out / "none_seg.nii.gz", "--gif")


def test_dicom_without_a_series_says_what_to_name(out):
    with pytest.raises(UsageError, match="--reference"):
        run(out / "one_seg.nii.gz", "--dicom-seg")


def test_one_scan_cannot_belong_to_several_cases(out):
    save(out / "two_seg.nii.gz", labels_of(OURS))
    scan = out.parent / "ct" / "one_0000.nii.gz"
    code, lines, talk = run(*sorted(out.glob("*_seg.nii.gz")), "--csv", "--scan", scan)
    assert (code, lines) == (UsageError.exit_code, [])
    assert "several cases" in talk


def test_two_labelmaps_of_one_case_are_not_mixed_up(out):
    other = save(out / "again" / "one_seg.nii.gz", labels_of(OURS))
    for arguments in (["--stl", "--overwrite", "-o", out / "both"], ["--csv"]):
        with pytest.raises(UsageError, match="both of case one"):
            run(out / "one_seg.nii.gz", other, *arguments)
    assert run(out / "one_seg.nii.gz", other, "--stl")[0] == 0


def test_numbers_that_nobody_explains_are_warned_of(out):
    (out / "one.json").unlink()
    assert (
        "taken as abdoseg's (1 liver, 2 kidney_right, 3 kidney_left, 4 spleen)"
        in run(out / "one_seg.nii.gz", "--stl")[2]
    )


def test_numbers_that_the_labelmaps_own_header_explains_are_taken_as_it_says(out):
    run(out / "one_seg.nii.gz", "--nrrd", "-o", out / "slicer")
    code, (table, *_), talk = run(out / "slicer" / "one.seg.nrrd", "--csv", "-o", out / "again")
    assert code == 0 and "taken as" not in talk
    assert Path(table).read_text().split()[1].startswith("liver,1,")


def test_what_export_wrote_itself_is_passed_over_in_a_pipe(out):
    _, lines, _ = run(out / "one_seg.nii.gz", "--stl")
    code, more, _ = run("--ply", stdin="\n".join([str(out / "one_seg.nii.gz"), *lines]))
    assert code == 0 and [Path(line).suffix for line in more] == [".ply"] * len(lines)


def test_a_pipe_without_labelmaps_and_a_folder_of_labelmaps_say_what_to_name(out):
    with pytest.raises(UsageError, match="no labelmap"):
        run("--stl", stdin=f"{out / 'one_volumes.csv'}\n")
    (out / "one.json").unlink()
    with pytest.raises(UsageError, match=r"\*_seg\.nii\.gz"):
        run(out, "--stl")


def test_a_reference_that_is_no_dicom_is_refused(out):
    with pytest.raises(UsageError, match="no DICOM"):
        run(out / "one_seg.nii.gz", "--dicom-seg", "--reference", out.parent / "ct" / "one_0000.nii.gz")


def test_help_lists_every_format_and_imports_nothing_heavy():
    script = (
        "import sys; from abdoseg.cli.export import export; "
        "print(sorted({'numpy', 'PIL', 'scipy', 'torch', 'trimesh'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    text = CliRunner().invoke(export, ["--help"]).output
    assert all(f"--{name}" in text for name in EXPORTERS)


def test_json_in_the_pipe_is_refused_in_a_line(out):
    with pytest.raises(click.UsageError, match=r"stdin holds no list of paths, but JSON; leave out --json"):
        run("--stl", stdin='{"case": "one", "outputs": ["one_seg.nii.gz"]}\n')


@pytest.mark.parametrize("name", ["nosuch.nii.gz", "ct/one_0000.nii.gz"])
def test_what_is_no_labelmap_is_refused_without_a_word_on_its_numbers(out, caplog, name):
    with pytest.raises(ScanError):
        run(out.parent / name, "--stl")
    assert "what its numbers mean" not in caplog.text
