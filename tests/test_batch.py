"""Many scans: names, refusals before work, bad ones passed over, files whole, the ledger."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from phantom_balls import WITH_TUMOUR, model, scan

from abdoseg.batch import BatchOptions, check_outputs, run
from abdoseg.cohort.scan_cases import ScanCase, plan_cases, sharded
from abdoseg.errors import ModelError, OutputError, ScanError, UsageError
from abdoseg.io import read_labels, read_scan, write_nifti
from abdoseg.runtime.ledger import Ledger


@pytest.fixture
def cohort(tmp_path):
    """Two good scans with a bad one between them."""
    volume, _ = scan()
    write_nifti(volume.voxels, volume.stored, tmp_path / "a_0000.nii.gz")
    volume.voxels[0, 0, 0] -= 1
    write_nifti(volume.voxels, volume.stored, tmp_path / "c.nii")
    (tmp_path / "b.nii.gz").write_text("this is no scan")
    return [tmp_path / "a_0000.nii.gz", tmp_path / "b.nii.gz", tmp_path / "c.nii"]


def test_a_case_is_named_after_its_file_and_has_three_outputs(tmp_path):
    (case,) = plan_cases([Path("in/scan_0000.nii.gz")], tmp_path)
    assert [path.name for path in case.outputs] == ["scan_seg.nii.gz", "scan_volumes.csv", "scan.json"]


def test_one_scan_may_name_its_labelmap_and_then_that_is_all(tmp_path):
    (case,) = plan_cases([Path("scan.nii.gz")], tmp_path / "liver.nii.gz")
    assert case.outputs == [tmp_path / "liver.nii.gz"]
    with pytest.raises(UsageError, match="one labelmap for 2 scans"):
        plan_cases([Path("a.nii"), Path("b.nii")], tmp_path / "liver.nii.gz")


def test_two_scans_of_one_name_are_refused(tmp_path):
    with pytest.raises(UsageError, match="both be written as ct"):
        plan_cases([Path("a/ct.nii.gz"), Path("a/ct.nii")], tmp_path)


def test_a_scan_that_is_named_twice_or_lies_in_a_folder_that_is_named_too_is_done_once(cohort, tmp_path, caplog):
    again = tmp_path / "link.nii"
    again.symlink_to(cohort[2])
    cases = plan_cases([cohort[0], cohort[0], again, cohort[2], tmp_path], tmp_path / "out")
    assert [case.name for case in cases] == ["a", "link", "b"]
    assert len(plan_cases([tmp_path, tmp_path], tmp_path / "out")) == 3
    assert caplog.text == ""  # such as that a scan is a copy of itself


def test_scans_of_one_name_are_kept_apart_by_their_folders(tmp_path):
    scans = [Path("a/x/ct.nii.gz"), Path("b/x/ct.nii"), Path("b/y/ct.nii"), Path("other.nii")]
    assert [case.name for case in plan_cases(scans, tmp_path)] == ["a_x_ct", "b_x_ct", "y_ct", "other"]


def test_a_name_that_its_folder_makes_another_scans_has_one_folder_more(tmp_path):
    scans = [Path("/c/case/image.nii.gz"), Path("/c/case2/image.nii.gz"), Path("/c/case_image.nii.gz")]
    assert [case.name for case in plan_cases(scans, tmp_path)] == ["c_case_image", "case2_image", "case_image"]


def test_a_folder_that_is_not_utf_8_makes_a_name_that_is(tmp_path):
    scans = [Path("M\udcfcller/ct.nii"), Path("b/ct.nii")]
    assert [case.name for case in plan_cases(scans, tmp_path)] == ["M_ller_ct", "b_ct"]


def test_how_a_case_ended_is_reported_when_its_files_are_whole(cohort, tmp_path):
    names = []
    list(run(plan_cases(cohort, tmp_path / "out"), model, finished=lambda result: names.append(result.case.name)))
    assert names == ["a", "b", "c"]


def test_a_folder_of_scan_files_stands_for_them(cohort, tmp_path):
    (tmp_path / "._a_0000.nii.gz").write_bytes(b"what a Mac leaves on a network drive")
    assert [case.name for case in plan_cases([tmp_path], tmp_path / "out")] == ["a", "b", "c"]


def test_shards_share_the_list_out_without_overlap():
    cases = [ScanCase(str(n), Path(), Path()) for n in range(7)]
    assert [case.name for case in sharded(cases, "2/3")] == ["1", "4"]
    together = {case.name for i in (1, 2, 3) for case in sharded(cases, f"{i}/3")}
    assert len(together) == 7
    for wrong in ("0/3", "4/3", "a/b", "3"):
        with pytest.raises(UsageError, match="--shard"):
            sharded(cases, wrong)


def test_outputs_that_exist_are_refused_before_any_work(cohort, tmp_path):
    cases = plan_cases(cohort, tmp_path / "out")
    check_outputs(cases, BatchOptions())
    (tmp_path / "out" / "c.json").write_text("{}")
    with pytest.raises(OutputError, match="--overwrite"):
        check_outputs(cases, BatchOptions())
    check_outputs(cases, BatchOptions(overwrite=True))


def test_no_labelmap_replaces_another_scan_of_the_call(tmp_path):
    scans = [tmp_path / "a.nii.gz", tmp_path / "a_seg.nii.gz"]
    for path in scans:
        path.write_text("a scan")
    with pytest.raises(OutputError, match=r"a_seg\.nii\.gz: this is a scan to be segmented"):
        check_outputs(plan_cases(scans, tmp_path), BatchOptions(overwrite=True))


def test_a_bad_scan_costs_only_itself_and_the_model_is_loaded_once(cohort, tmp_path):
    loads = []

    def load():
        loads.append(1)
        return model()

    results = list(run(plan_cases(cohort, tmp_path / "out"), load))
    assert [result.case.name for result in results] == ["a", "b", "c"]
    assert [type(result.error) for result in results] == [type(None), ScanError, type(None)]
    assert len(loads) == 1
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert made == ["a.json", "a_seg.nii.gz", "a_volumes.csv", "c.json", "c_seg.nii.gz", "c_volumes.csv"]


def test_the_labelmap_lies_on_the_scans_own_array(cohort, tmp_path):
    import nibabel

    list(run(plan_cases(cohort[:1], tmp_path / "out"), model))
    ours, theirs = nibabel.load(tmp_path / "out" / "a_seg.nii.gz"), nibabel.load(cohort[0])
    assert ours.shape == theirs.shape
    assert ours.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(ours.affine, theirs.affine)
    for key in ("sform_code", "qform_code"):
        assert ours.header[key] == theirs.header[key]


def test_the_record_leads_to_the_scan_and_times_every_stage(cohort, tmp_path):
    list(run(plan_cases(cohort[:1], tmp_path / "out"), model))
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert (tmp_path / "out" / record["scan"]).resolve() == cohort[0].resolve()
    assert {"read", "resample", "network", "postprocess", "labels", "measure", "quality", "write"} == set(
        record["seconds"]
    )
    assert record["case"] == "a"


def test_labels_and_rows_follow_the_scheme(cohort, tmp_path):
    (result,) = run(plan_cases(cohort[:1], tmp_path / "out"), model, BatchOptions(scheme="flare22"))
    assert {row["organ"]: row["label"] for row in result.rows} == {
        "liver": 1, "kidney_right": 2, "kidney_left": 13, "spleen": 3,
    }  # fmt: skip
    _, truth = scan()
    read = read_labels(tmp_path / "out" / "a_seg.nii.gz", "flare22")
    np.testing.assert_array_equal(read.labels, truth)


def test_a_scheme_with_one_number_for_both_kidneys_merges_them(cohort, tmp_path):
    options = BatchOptions(scheme="kits", organs=("kidney_right", "kidney_left"))
    list(run(plan_cases(cohort[:1], tmp_path / "k.nii.gz"), model, options))
    _, truth = scan()
    labels = read_labels(tmp_path / "k.nii.gz").labels
    np.testing.assert_array_equal(labels == 1, (truth == 2) | (truth == 3))


def test_of_a_scheme_that_lacks_organs_the_others_are_written(cohort, tmp_path):
    (result,) = run(plan_cases(cohort[:1], tmp_path / "m"), model, BatchOptions(scheme="msd-liver"))
    assert [(row["organ"], row["label"]) for row in result.rows] == [("liver", 1)]
    (result,) = run(plan_cases(cohort[:1], tmp_path / "k"), model, BatchOptions(scheme="kits"))
    assert [(row["organ"], row["label"]) for row in result.rows] == [("kidney_right", 1), ("kidney_left", 1)]
    liver = model()
    liver = replace(liver, plan=replace(liver.plan, output_organs=("liver",)))
    with pytest.raises(UsageError, match="--labels kits: it has no number for what the model delivers, liver"):
        list(run(plan_cases(cohort[:1], tmp_path / "l"), lambda: liver, BatchOptions(scheme="kits")))


def test_further_files_are_written_by_the_export_that_is_given(cohort, tmp_path):
    def export(case, volume, found):
        path = tmp_path / f"{case.name}.txt"
        path.write_text(str(found.labelmap.labels.max()))
        yield path

    (result,) = run(plan_cases(cohort[:1], tmp_path / "out"), model, export=export)
    assert result.written[-1].read_text() == "4"


def test_a_case_whose_export_fails_has_a_record_that_leads_to_its_scan(cohort, tmp_path):
    def export(case, volume, found):
        raise OutputError("the disk is full")

    (result,) = run(plan_cases(cohort[:1], tmp_path / "out"), model, export=export)
    assert str(result.error) == "the disk is full"
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert (tmp_path / "out" / record["scan"]).resolve() == cohort[0]


def test_a_bug_on_one_scan_is_reported_and_the_rest_go_on(cohort, tmp_path, caplog):
    def export(case, volume, found):
        if case.name == "a":
            raise ZeroDivisionError("oh")
        return []

    results = list(run(plan_cases([cohort[0], cohort[2]], tmp_path / "out"), model, export=export))
    assert [result.error is None for result in results] == [False, True]
    assert results[0].error.exit_code == 1


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError, lambda: torch.empty(10**15)])
def test_short_memory_is_an_error_of_its_own(cohort, tmp_path, error):
    def export(case, volume, found):
        raise error()

    (result,) = run(plan_cases(cohort[:1], tmp_path / "out"), model, export=export)
    assert result.error.exit_code == 10
    assert "memory ran out" in str(result.error)


def test_a_bug_that_speaks_of_memory_is_a_bug(cohort, tmp_path, caplog):
    def export(case, volume, found):
        raise ValueError("out of memory")

    (result,) = run(plan_cases(cohort[:1], tmp_path / "out"), model, export=export)
    assert result.error.exit_code == 1
    assert "a bug in abdoseg" in caplog.text


def test_freed_memory_goes_back_to_the_system_between_cases(cohort, tmp_path, monkeypatch):
    released = []
    monkeypatch.setattr("abdoseg.batch.RELEASE_EVERY", 2)
    monkeypatch.setattr("abdoseg.batch.release_freed_memory", lambda: released.append(True))
    assert len(list(run(plan_cases(cohort, tmp_path / "out"), model))) == 3
    assert len(released) == 1


def test_a_caller_that_stops_leaves_whole_files_only(cohort, tmp_path):
    results = run(plan_cases([cohort[0], cohort[2]], tmp_path / "out"), model)
    next(results)
    results.close()
    for path in (tmp_path / "out").iterdir():
        assert not path.name.startswith(".")
        if path.name.endswith(".nii.gz"):
            read_labels(path)


def test_without_cases_nothing_happens():
    assert list(run([], model)) == []


def test_the_ledger_knows_what_is_done(tmp_path):
    output = tmp_path / "a_seg.nii.gz"
    output.write_text("")
    ledger = Ledger(tmp_path)
    ledger.add("a", [output], seconds=1.0)
    ledger.add("b", [], ScanError("b: empty"))
    Ledger(tmp_path, "2/3").add("c", [tmp_path / "gone.nii.gz"])
    assert set(ledger.done()) == {"a"}
    assert (tmp_path / "ledger.2-of-3.jsonl").exists()
    with ledger.path.open("a") as file:
        file.write('{"case": "d", "sta')
    assert set(ledger.done()) == {"a"}
    ledger.add("e", [])
    assert set(ledger.done()) == {"a", "e"}
    line = json.loads(ledger.path.read_text().splitlines()[1])
    assert (line["status"], line["exit_code"], line["error"]) == ("failed", 3, "b: empty")


def test_a_later_failure_undoes_an_earlier_success(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.add("a", [])
    assert set(ledger.done()) == {"a"}
    lines = ledger.path.read_text()
    ledger.path.write_text(lines + lines.replace('"done"', '"failed"'))
    assert ledger.done() == {}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused_before_work(cohort, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="permission denied"):
        check_outputs(plan_cases(cohort[:1], locked), BatchOptions())


def test_the_scan_is_read_as_the_options_say(tmp_path):
    assert read_scan.__kwdefaults__.keys() >= BatchOptions(reading={"series": None, "gaps": "fill"}).reading.keys()


def test_a_scan_that_memory_does_not_allow_is_refused_by_its_header(cohort, tmp_path, monkeypatch):
    def planes(*args):
        raise AssertionError("voxels were read")

    monkeypatch.setattr("abdoseg.io.nifti.reader.read_planes", planes)
    (result,) = run(plan_cases(cohort[:1], tmp_path / "out"), model, BatchOptions(max_memory=2**27))
    assert result.error.exit_code == 10
    assert str(result.error).startswith(f"{cohort[0]}: a scan of")
    assert "--max-memory allows 0.12 GB" in str(result.error)


def test_tumours_have_a_table_of_their_own(cohort, tmp_path):
    with_tumour = lambda: model(WITH_TUMOUR)  # noqa: E731
    (result,) = run(plan_cases(cohort[:1], tmp_path / "out"), with_tumour, BatchOptions(tumour=True))
    assert [path.name for path in result.written] == ["a_seg.nii.gz", "a_volumes.csv", "a_lesions.csv", "a.json"]
    assert (tmp_path / "out" / "a_lesions.csv").read_text().startswith("number,volume_ml,longest_axial_mm")
    assert [row["organ"] for row in result.rows] == list(WITH_TUMOUR)
    (result,) = run(plan_cases(cohort[:1], tmp_path / "four"), with_tumour)
    assert [row["organ"] for row in result.rows] == list(WITH_TUMOUR[:4])
    assert not (tmp_path / "four" / "a_lesions.csv").exists()


def test_tumours_are_an_error_for_a_model_that_does_not_know_them(cohort, tmp_path):
    with pytest.raises(ModelError, match="does not know liver_tumour"):
        list(run(plan_cases(cohort[:1], tmp_path / "out"), model, BatchOptions(tumour=True)))
