"""abdoseg segment on the command line: what goes to stdout, what to stderr, exit codes, resuming, killing."""

import csv
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from killed_process import killed_while_writing
from phantom_balls import model, scan
from phantom_dicom import write_series

from abdoseg.cli.export import export
from abdoseg.cli.param_types import size
from abdoseg.cli.segment import segment
from abdoseg.errors import AbdosegError, ModelError, OutputError, UsageError
from abdoseg.io import read_labels, write_nifti


@pytest.fixture(autouse=True)
def known_model(monkeypatch):
    monkeypatch.setattr("abdoseg.model.weights.load_model", lambda name=None, device="auto": model())


@pytest.fixture
def path(tmp_path):
    volume, _ = scan()
    write_nifti(volume.voxels, volume.stored, tmp_path / "scan_0000.nii.gz")
    return tmp_path / "scan_0000.nii.gz"


def run(*args, stdin=None):
    before = signal.getsignal(signal.SIGTERM)
    try:
        return CliRunner().invoke(segment, [str(arg) for arg in args], input=stdin, standalone_mode=False)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_stdout_has_the_paths_and_stderr_the_talk(path, tmp_path):
    result = run(path, "-o", tmp_path / "out")
    names = ["scan_seg.nii.gz", "scan_volumes.csv", "scan.json"]
    assert result.stdout.splitlines() == [str(tmp_path / "out" / name) for name in names]
    assert "scan: liver" in result.stderr
    assert result.return_value == 0
    _, truth = scan()
    np.testing.assert_array_equal(read_labels(tmp_path / "out" / "scan_seg.nii.gz").labels, truth)


def test_quiet_leaves_stderr_empty(path, tmp_path):
    assert run(path, "-o", tmp_path / "out", "-q").stderr == ""


def test_json_is_an_object_a_case(path, tmp_path):
    result = run(path, tmp_path / "absent.nii.gz", "-o", tmp_path / "out", "--json")
    good, bad = (json.loads(line) for line in result.stdout.splitlines())
    assert (good["case"], good["status"], bad["status"]) == ("scan", "review", "failed")
    assert good["review"] == list(good["reasons"]) and good["seconds"] > 0
    assert {row["organ"]: row["complete"] for row in good["volumes"]}["liver"] is True
    assert bad["exit_code"] == 3
    assert "no such file" in bad["error"]
    assert result.return_value == 3


def test_many_cases_end_with_a_table_a_page_and_three_lines(path, tmp_path):
    result = run(path, tmp_path / "absent.nii.gz", "-o", tmp_path / "out")
    counts, volumes, where = result.stderr.splitlines()[-3:]
    assert counts == f"{tmp_path / 'out'}: 1 of 2 cases are done, 1 failed, 1 to review"
    assert volumes.startswith("median volumes: liver ")
    assert where == f"see {tmp_path / 'out' / 'index.html'}, or {tmp_path / 'out' / 'cohort.csv'}"
    assert (tmp_path / "out" / "previews" / "scan.jpg").exists()
    assert not any("index.html" in line or "cohort.csv" in line for line in result.stdout.splitlines())


def test_shards_merge_in_the_table_without_a_further_step(path, tmp_path):
    scans = [path, *(tmp_path / f"{name}.nii.gz" for name in "bc")]
    for copy in scans[1:]:
        copy.write_bytes(path.read_bytes())
    for shard in ("1/2", "2/2"):
        run(*scans, "-o", tmp_path / "out", "--shard", shard)
    rows = (tmp_path / "out" / "cohort.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["case", "b", "c", "scan"]


def test_a_shard_without_cases_is_no_failure(path, tmp_path):
    result = run(path, tmp_path / "absent.nii.gz", "-o", tmp_path / "out", "--shard", "3/3")
    assert (result.exception, result.return_value) == (None, 0)


def test_progress_as_json_is_a_line_a_case(path, tmp_path):
    result = run(path, tmp_path / "absent.nii.gz", "-o", tmp_path / "out", "--progress", "json", "-q")
    events = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    assert [(event["case"], event["failed"], event["done"], event["of"]) for event in events] == [
        ("scan", False, 1, 2), ("absent", True, 2, 2),
    ]  # fmt: skip
    assert events[0]["seconds_left"] >= 0 and events[1]["seconds_left"] == 0


def test_the_csv_has_the_columns_that_others_script_against(path, tmp_path):
    run(path, "-o", tmp_path / "out")
    header, first, *_ = (tmp_path / "out" / "scan_volumes.csv").read_text().splitlines()
    assert header.startswith("organ,label,voxels,volume_ml,mean_hu,sd_hu,complete,touches")
    assert first.startswith("liver,1,")


def test_one_scan_to_one_named_labelmap(path, tmp_path):
    result = run(path, "-o", tmp_path / "liver.nii.gz", "--organs", "liver")
    assert result.stdout.splitlines() == [str(tmp_path / "liver.nii.gz")]
    assert np.unique(read_labels(tmp_path / "liver.nii.gz").labels).tolist() == [0, 1]


def test_a_list_of_scans_comes_from_stdin_or_a_file(path, tmp_path):
    assert run("-", "-o", tmp_path / "a", stdin=f"{path}\n").return_value == 0
    (tmp_path / "list.txt").write_text(f"{path}\n")
    assert run("--from", tmp_path / "list.txt", "-o", tmp_path / "b").return_value == 0
    assert (tmp_path / "a" / "scan.json").exists()
    assert (tmp_path / "b" / "scan.json").exists()


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_a_list_may_have_columns_of_path_case_and_series(path, tmp_path, delimiter):
    rows = [("case", "path", "age", "series"), ("first", str(path), "61", ""), ("", str(tmp_path / "more"), "", "")]
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "other.nii.gz").write_bytes(path.read_bytes())
    text = "\n".join(delimiter.join(row) for row in rows)
    assert run("-", "-o", tmp_path / "out", stdin=text).return_value == 0
    assert sorted(p.name for p in (tmp_path / "out").glob("*.json")) == ["first.json", "other.json"]


def test_a_list_whose_cases_would_leave_the_folder_is_refused(path, tmp_path):
    for case in ("../x", ".x", "a\\b"):
        assert isinstance(run("-", "-o", tmp_path, stdin=f"path,case\n{path},{case}\n").exception, click.UsageError)
    assert "without a path" in str(run("-", "-o", tmp_path, stdin="path,case\n ,b\n").exception)


def test_a_path_with_a_comma_is_still_a_path(path, tmp_path):
    odd = path.rename(tmp_path / "a,b.nii.gz")
    assert run("-", "-o", tmp_path / "out", stdin=f"{odd}\n").return_value == 0
    assert (tmp_path / "out" / "a,b.json").exists()


def test_a_dry_run_lists_what_would_be_done_as_a_list_that_segment_reads(path, tmp_path):
    (tmp_path / "in" / "p1").mkdir(parents=True)
    path.rename(tmp_path / "in" / "p1" / "ct.nii.gz")
    (tmp_path / "in" / "bad.nii.gz").write_text("no scan")
    listed = run(tmp_path / "in", "-o", tmp_path / "out", "--dry-run")
    assert listed.return_value == 3
    header, bad, good = (line.split("\t") for line in listed.stdout.splitlines())
    assert dict(zip(header, good, strict=True)) | {"seconds": 0, "gb": 0} == {
        "path": str(tmp_path / "in" / "p1" / "ct.nii.gz"), "case": "ct", "series": "", "member": "",
        "shape": "80x60x40", "seconds": 0, "gb": 0,
    }  # fmt: skip
    assert bad[4:] == ["", "", ""]
    assert "2 cases, 1 of which cannot be read; about" in listed.stderr
    assert not (tmp_path / "out").exists()
    assert run("-", "-o", tmp_path / "out", stdin=listed.stdout).return_value == 3
    assert (tmp_path / "out" / "ct.json").exists()


def test_a_dry_run_refuses_what_segment_does_as_larger_than_any_ct(tmp_path):
    volume, _ = scan(affine=np.diag([30.0, 30.0, 60.0, 1.0]))
    write_nifti(volume.voxels, volume.stored, tmp_path / "huge.nii.gz")
    listed = run(tmp_path / "huge.nii.gz", "-o", tmp_path / "out", "--dry-run")
    assert listed.return_value == run(tmp_path / "huge.nii.gz", "-o", tmp_path / "out").return_value == 3
    assert "more than any CT" in listed.stderr


def test_an_output_that_exists_is_an_error_before_any_work(path, tmp_path, monkeypatch):
    run(path, "-o", tmp_path / "out")
    monkeypatch.setattr("abdoseg.io.scan_source.read_scan", lambda *a, **k: pytest.fail("work was begun"))
    result = run(path, "-o", tmp_path / "out")
    assert isinstance(result.exception, OutputError)
    monkeypatch.undo()


def test_so_is_an_export_that_exists(path, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scan_liver.stl").write_text("mine")
    monkeypatch.setattr("abdoseg.io.scan_source.read_scan", lambda *a, **k: pytest.fail("work was begun"))
    result = run(path, "-o", tmp_path / "out", "--stl")
    assert isinstance(result.exception, OutputError)
    assert "scan_liver.stl" in str(result.exception)
    monkeypatch.undo()
    assert run(path, "-o", tmp_path / "out", "--stl", "--together").return_value == 0


def test_a_bug_is_reported_with_its_traceback_even_when_quiet(path, tmp_path, monkeypatch):
    def broken(*args):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("abdoseg.batch.write_volumes", broken)
    result = run(path, "-o", tmp_path / "out", "-q")
    assert "in broken\n" in result.stderr
    assert result.return_value == 1


def test_overwrite_replaces(path, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scan.json").write_text("old")
    assert run(path, "-o", tmp_path / "out", "--overwrite").return_value == 0
    assert json.loads((tmp_path / "out" / "scan.json").read_text())["case"] == "scan"


def broken(kind, path):
    """A file that cannot be a scan, in one of the ways that happen."""
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("patient,volume\n")
    elif kind == "truncated":
        volume, _ = scan()
        write_nifti(volume.voxels, volume.stored, path)
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "normalised":
        volume, _ = scan()
        write_nifti((volume.voxels / 1000).astype(np.float32), volume.stored, path)
    elif kind == "garbage":
        path.write_bytes(gzip.compress(os.urandom(5000)))
    return path


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "truncated", "normalised", "garbage"])
def test_bad_input_is_one_message_and_the_others_go_on(kind, path, tmp_path):
    bad = broken(kind, tmp_path / "bad.nii.gz")
    result = run(bad, path, "-o", tmp_path / "out")
    assert result.exception is None
    assert result.return_value == 3
    assert result.stderr.count("error:") == 1
    assert "Traceback" not in result.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if "scan" in p.name) == [
        "scan.json", "scan_seg.nii.gz", "scan_volumes.csv",
    ]  # fmt: skip


def test_fail_fast_stops_at_the_first_bad_scan(path, tmp_path):
    result = run(tmp_path / "absent.nii.gz", path, "-o", tmp_path / "out", "--fail-fast")
    assert result.return_value == 3
    assert not (tmp_path / "out" / "scan.json").exists()


def test_resume_passes_over_what_is_done_and_redoes_what_is_half_done(path, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(path, "-o", out)
    result = run(path, "-o", out, "--resume")
    assert result.stdout == run(path, "-o", out, "--overwrite").stdout  # so that a pipe gets all cases
    assert "1 of 1 cases are done already" in result.stderr
    (out / "scan.json").unlink()
    killed_while_writing(out / "scan_seg.nii.gz")
    assert len(run(path, "-o", out, "--resume").stdout.splitlines()) == 3
    assert not list(out.glob(".*"))


def test_the_same_command_again_is_told_that_it_may_resume(path, tmp_path):
    (tmp_path / "another.nii.gz").write_bytes(path.read_bytes())
    run(path, "-o", tmp_path / "out")
    result = run(path, tmp_path / "another.nii.gz", "-o", tmp_path / "out")
    assert "scan_seg.nii.gz: exists already, as 1 of 2 cases are done; pass --resume" in str(result.exception)


def test_resume_tells_cases_that_were_done_before_as_it_tells_new_ones(path, tmp_path):
    (done,) = map(json.loads, run(path, "-o", tmp_path / "out", "--json").stdout.splitlines())
    (shown,) = map(json.loads, run(path, "-o", tmp_path / "out", "--json", "--resume").stdout.splitlines())
    for was, now in zip(done.pop("volumes"), shown.pop("volumes"), strict=True):
        for name, value in was.items():
            assert now[name] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value)
    assert shown == done


def test_resume_does_again_what_was_asked_for_otherwise_and_takes_no_scan_for_another(path, tmp_path):
    out = tmp_path / "out"
    run(path, "-o", out)
    assert "1 were done with other options" in run(path, "-o", out, "--resume", "--labels", "flare22").stderr
    np.testing.assert_array_equal(read_labels(out / "scan_seg.nii.gz", "flare22").labels, scan()[1])
    result = run(path, "-o", out, "--resume", "--labels", "flare22", "--stl")
    assert "scan_liver.stl" in result.stdout
    assert "0 of 1 cases are done" in result.stderr
    assert "1 of 1 cases are done" in run(path, "-o", out, "--resume", "--labels", "flare22").stderr
    other = tmp_path / "other" / path.name
    other.parent.mkdir()
    other.write_bytes(path.read_bytes())
    result = run(other, "-o", out, "--resume")
    assert isinstance(result.exception, UsageError)
    assert "results of another scan as scan" in str(result.exception)


@pytest.mark.parametrize("organs", ["Liver, kidneys", "liver,right kidney,kidney left"])
def test_organs_are_known_by_what_people_call_them(path, tmp_path, organs):
    run(path, "-o", tmp_path / "o.nii.gz", "--organs", organs)
    assert np.unique(read_labels(tmp_path / "o.nii.gz").labels).tolist() == [0, 1, 2, 3]


@pytest.mark.skipif(sys.platform != "linux", reason="names there are any bytes")
def test_a_name_that_is_not_utf_8_is_segmented_and_summed_up(path, tmp_path):
    other = path.with_name("M\udcfcller.nii")
    os.link(path, other)
    assert run(path, other, "-o", tmp_path / "out").return_value == 0
    assert (tmp_path / "out" / "M_ller_seg.nii.gz").exists()
    assert "M_ller" in (tmp_path / "out" / "cohort.csv").read_text(encoding="utf-8")


def test_a_labelmap_of_another_format_is_not_taken_for_a_folder(path, tmp_path):
    assert isinstance(run(path, "-o", tmp_path / "o.nrrd").exception, UsageError)


def test_a_scan_is_never_written_over(path, tmp_path):
    before = path.read_bytes()
    result = run(path, "-o", path, "--overwrite")
    assert isinstance(result.exception, OutputError)
    assert "a scan to be segmented" in str(result.exception)
    assert path.read_bytes() == before


def test_stdin_that_names_no_files_is_said(tmp_path):
    refused = run("-", "-o", tmp_path / "out", stdin="").exception
    assert isinstance(refused, click.UsageError)
    assert "stdin names no files; did the command before the pipe fail?" in str(refused)
    assert "stdin names no files" in str(CliRunner().invoke(export, ["--stl"], standalone_mode=False).exception)


def test_a_scan_on_stdin_is_no_list_of_paths(path, tmp_path):
    result = CliRunner().invoke(segment, ["-", "-o", str(tmp_path / "o")], input=path.read_bytes())
    assert "stdin holds no list of paths" in result.stderr
    assert result.exit_code == 2


@pytest.mark.parametrize(
    "args",
    [["--labels", "none"], ["--organs", "heart"], ["--labels", "kits", "--organs", "liver"], ["--max-memory", "much"],
     ["--max-memory", "2"], ["--max-memory", "inf"],
     ["--shard", "9/3"], ["--window", "3"]],
)  # fmt: skip
def test_what_cannot_be_is_a_usage_error(args, path, tmp_path):
    result = run(path, "-o", tmp_path / "out", *args)
    assert isinstance(result.exception, UsageError)
    assert not (tmp_path / "out").exists()


def test_sizes_are_read_as_people_write_them():
    assert [size(None, None, text) for text in ("2G", "1.5GB", "1500M", "4194304", "2gib", None)] == [
        2**31, 3 * 2**29, 1500 * 2**20, 2**22, 2**31, None,
    ]  # fmt: skip


def test_short_memory_is_refused(path, tmp_path):
    result = run(path, "-o", tmp_path / "out", "--max-memory", "100M")
    assert result.return_value == 10
    assert "--max-memory allows 0.10 GB" in result.stderr


def test_further_formats_come_in_one_go(path, tmp_path):
    result = run(path, "-o", tmp_path / "out", "--organs", "liver", "--stl", "--sheet")
    assert result.exception is None
    names = [line.rsplit("/", 1)[-1] for line in result.stdout.splitlines()]
    assert names[3:] == ["scan_liver.stl", "scan_sheet.png"]


def test_exports_take_the_volumes_that_segment_measured(path, tmp_path, monkeypatch):
    for module in ("exporters.job", "rendering.contact_sheet"):
        monkeypatch.setattr(f"abdoseg.{module}.measure", lambda *given: pytest.fail("measured again"))
    assert run(path, "-o", tmp_path / "out", "--stl", "--sheet", "--csv").exception is None
    ours, exported = (read_rows(tmp_path / "out" / f"scan_{name}.csv") for name in ("volumes", "organs"))
    assert [row["mean_hu"] for row in exported] == [row["mean_hu"] for row in ours]


def read_rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_no_socket_is_opened(path, tmp_path, monkeypatch):
    def refused(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refused)
    assert run(path, "-o", tmp_path / "out").exception is None


def test_errors_carry_their_exit_codes_all_the_way():
    assert all(error.exit_code for error in AbdosegError.__subclasses__())


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_run_leaves_no_half_file(path, tmp_path):
    volume, _ = scan()
    for n in range(20):
        write_nifti(volume.voxels, volume.stored, tmp_path / f"s{n:02}.nii")
    code = (
        "import abdoseg.model.weights as w, phantom_balls\n"
        "w.load_model = lambda *a: phantom_balls.model()\n"
        "from abdoseg.cli import main\nmain()"
    )
    tests, scans = str(Path(__file__).parents[1]), sorted(map(str, tmp_path.glob("s*.nii")))
    process = subprocess.Popen(
        [sys.executable, "-c", code, "segment", *scans, "-o", str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": tests}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline().strip().endswith("s00_seg.nii.gz")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 130
    made = sorted((tmp_path / "out").iterdir())
    assert not [p for p in made if p.name.startswith(".")]
    for labelmap in (tmp_path / "out").glob("*_seg.nii.gz"):
        read_labels(labelmap)


def test_a_table_of_lesions_that_stands_is_not_overwritten(path, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scan_lesions.csv").write_text("kept")
    refused = run(path, "-o", tmp_path / "out", "--tumour").exception
    assert isinstance(refused, OutputError) and "scan_lesions.csv" in str(refused)
    assert not (tmp_path / "out" / "scan_seg.nii.gz").exists()
    assert run(path, "-o", tmp_path / "out").return_value == 0


@pytest.mark.parametrize("flag", ["--dicom-seg", "--rtstruct", "--dicom-sr"])
def test_dicom_outputs_of_a_scan_that_is_no_dicom_are_refused_before_any_work(path, tmp_path, flag):
    result = run(path, "-o", tmp_path / "out", flag)
    assert isinstance(result.exception, UsageError)
    assert f"{path}: is NIfTI, and {flag} lies on a DICOM series; name it with --reference" in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["--dicom-seg", "--rtstruct", "--dicom-sr"])
def test_dicom_outputs_lie_on_the_series_that_reference_names(path, tmp_path, flag):
    volume, _ = scan()
    write_series(tmp_path / "series", volume.voxels, volume.geometry.affine)
    result = run(path, "-o", tmp_path / "out", flag, "--reference", tmp_path / "series")
    assert result.exception is None
    assert len(list((tmp_path / "out").glob("scan_*.dcm"))) == 1
    result = run(path, "-o", tmp_path / "two", flag, "--reference", path)
    assert isinstance(result.exception, UsageError)


def test_a_scan_without_organs_is_no_failure_for_formats_that_need_one(tmp_path):
    volume, _ = scan()
    write_series(tmp_path / "ct", np.minimum(volume.voxels, 75), volume.geometry.affine)
    result = run(tmp_path / "ct", "-o", tmp_path / "out", "--dicom-seg", "--dicom-sr", "--rtstruct", "--csv")
    assert result.return_value == 0
    made = {path.name for path in (tmp_path / "out").glob("ct*")}
    assert made == {"ct_seg.nii.gz", "ct_volumes.csv", "ct.json", "ct_rtstruct.dcm", "ct_organs.csv"}
    assert "ct: no organ was found, and --dicom-seg needs one: not written" in result.stderr
    refused = CliRunner().invoke(export, [str(tmp_path / "out" / "ct.json"), "--dicom-sr"]).exception
    assert isinstance(refused, OutputError)


def test_all_organs_are_those_that_the_model_knows(path, tmp_path):
    assert run(path, "-o", tmp_path / "o.nii.gz", "--organs", "all").exception is None
    assert run(path, "-o", tmp_path / "o", "--organs", "all").exception is None
    rows = (tmp_path / "o" / "scan_volumes.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["liver", "kidney_right", "kidney_left", "spleen", "pancreas"]


def test_the_error_for_an_unknown_organ_lists_what_the_model_knows(path, tmp_path):
    shown = str(run(path, "-o", tmp_path / "o", "--organs", "heart muscle").exception)
    assert "no such organ; the model knows liver, kidney_right, kidney_left, spleen, pancreas, or say all" in shown


def test_an_organ_that_the_model_does_not_know_is_refused_before_the_first_scan_is_done(path, tmp_path):
    result = run(path, "-o", tmp_path / "o", "--organs", "gallbladder")
    assert isinstance(result.exception, ModelError)
    assert not (tmp_path / "o" / "ledger.jsonl").exists()


def test_organs_that_a_scheme_has_no_number_for_are_reported(path, tmp_path):
    assert (
        "warning: --labels msd-liver: it has no number for kidney_right, kidney_left, spleen: not written"
        in run(path, "-o", tmp_path / "o", "--labels", "msd-liver").stderr
    )


def test_an_output_that_is_a_file_is_said_to_have_to_be_a_folder(path, tmp_path):
    (tmp_path / "results").write_text("")
    shown = str(run(path, "-o", tmp_path / "results").exception)
    assert (
        shown == f"{tmp_path / 'results'}: a file; name a folder for the results, or a .nii.gz for one scan's labelmap"
    )


def test_an_array_job_knows_its_shard(path, tmp_path, monkeypatch):
    scans = [path, *(tmp_path / f"{name}.nii.gz" for name in "bc")]
    for copy in scans[1:]:
        copy.write_bytes(path.read_bytes())
    for task in ("0", "1"):
        for name, value in (("ID", task), ("MIN", "0"), ("MAX", "1")):
            monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
        run(*scans, "-o", tmp_path / "out", "--shard", "auto")
    assert sorted(p.name for p in (tmp_path / "out").glob("ledger*")) == ["ledger.1-of-2.jsonl", "ledger.2-of-2.jsonl"]
    assert len(list((tmp_path / "out").glob("*_seg.nii.gz"))) == 3


def series_of_two_patients(folder):
    """A flat folder with two studies of one grid; the second patient's liver is 30 HU brighter."""
    volume, _ = scan()
    for number in ("1", "2"):
        tags = {"StudyInstanceUID": f"1.{number}", "SeriesInstanceUID": f"1.{number}.5", "SeriesNumber": number}
        write_series(
            folder, volume.voxels, volume.geometry.affine, tags=tags, names=lambda at, n=number: f"{n}-{at:03}"
        )
        volume.voxels[volume.voxels == 95] = 98


def in_zip(path, folder):
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"deep/{file.name}")


def test_the_error_of_one_of_several_series_names_its_case(tmp_path):
    voxels = np.zeros((4, 4, 4), np.int16)
    for number in ("1", "2"):
        tags = {"StudyInstanceUID": f"1.{number}", "SeriesInstanceUID": f"1.{number}.5", "SeriesNumber": number}
        write_series(tmp_path / "in", voxels + int(number), tags=tags, names=lambda at, n=number: f"{n}-{at:03}")
    errors = [
        line for line in run(tmp_path / "in", "-o", tmp_path / "out").stderr.splitlines() if line.startswith("error")
    ]
    assert [error.split(": ")[1] for error in errors] == ["in_s1", "in_s2"]


@pytest.mark.parametrize("kind", ["folder of two patients", "zip of two patients", "zip of two files"])
def test_export_finds_a_scan_again_that_shared_its_folder_or_zip(kind, path, tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    if "patients" in kind:
        series_of_two_patients(root)
    else:
        for name, hu in (("a", 95), ("b", 98)):
            volume, _ = scan()
            volume.voxels[volume.voxels == 95] = hu
            write_nifti(volume.voxels, volume.stored, root / f"{name}.nii.gz")
    if "zip" in kind:
        in_zip(tmp_path / "in.zip", root)
        root = tmp_path / "in.zip"
    assert run(root, "-o", tmp_path / "out").return_value == 0
    done = CliRunner().invoke(export, [str(tmp_path / "out"), "--csv", "--report"])
    assert (done.exit_code, done.stderr) == (0, "")
    tables = sorted((tmp_path / "out").glob("*_organs.csv"))
    assert [float(read_rows(table)[0]["mean_hu"]) for table in tables] == [95, 98]
    if "patients" in kind:
        record = tables[1].with_name(tables[1].name.replace("_organs.csv", ".json"))
        assert "1.2.5" not in record.read_text() and "Doe" not in record.read_text()
        done = CliRunner().invoke(export, [str(record), "--dicom-seg"])
        assert done.exit_code == 0, done.stderr


def test_export_reads_a_scan_with_the_options_that_segment_had(tmp_path):
    volume, _ = scan()
    write_series(tmp_path / "in", volume.voxels, volume.geometry.affine, missing=[12])
    assert run(tmp_path / "in", "-o", tmp_path / "out", "--gaps", "fill").return_value == 0
    assert json.loads((tmp_path / "out" / "in.json").read_text())["reading"]["gaps"] == "fill"
    assert CliRunner().invoke(export, [str(tmp_path / "out" / "in.json"), "--csv", "--dicom-seg"]).exit_code == 0
