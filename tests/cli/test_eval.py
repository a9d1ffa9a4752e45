"""abdoseg eval: tables, JSON, exit codes and what is said of cases that are missing."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from phantom_labels import body, cohort, write

from abdoseg.cli.evaluate import evaluate
from abdoseg.cli.score_tables import evaluation_tables, print_tables
from abdoseg.errors import GeometryError, MissingPredictionError, OutputError, UsageError
from abdoseg.evaluation import evaluate as evaluate_pairs
from abdoseg.evaluation import find_pairs
from abdoseg.evaluation.metric_table import METRICS


def run(*arguments):
    """The result, errors raised as they are: `abdoseg.cli.main` turns them into exit codes."""
    result = CliRunner().invoke(evaluate, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_cohort_gives_tables_csv_summary_and_report(tmp_path):
    pred, truth = cohort(tmp_path, [0, 1, 2])
    out, report = tmp_path / "out" / "scores.csv", tmp_path / "out" / "report.html"
    result = run(pred, truth, "-o", out, "--report", report)
    assert result.exit_code == 0
    for word in ("liver", "c2", "0.8750", "mean Dice", "failed"):
        assert word in result.stdout
    scores = rows(out)
    assert len(scores) == 12
    assert list(scores[0])[:3] == ["case", "organ", "status"]
    assert set(METRICS) <= set(scores[0])
    liver = next(row for row in scores if (row["case"], row["organ"]) == ("c1", "liver"))
    assert float(liver["dice"]) == 0.875
    assert float(liver["jaccard"]) == float(liver["iou"]) == pytest.approx(7 / 9)
    assert (liver["tp"], liver["fp"], liver["fn"]) == ("448", "64", "64")
    assert float(liver["hausdorff_mm"]) == 1
    assert (liver["nsd_tolerance_mm"], liver["surface"], liver["lesion_f1"]) == ("5", "border", "")
    summary = rows(tmp_path / "out" / "scores_summary.csv")
    dice = next(row for row in summary if (row["organ"], row["metric"]) == ("liver", "dice"))
    assert float(dice["mean"]) == 0.875
    assert "<!doctype html>" in report.read_text()


def test_names_are_printed_as_they_are_and_numbers_whole_on_a_narrow_terminal(tmp_path, monkeypatch, capsys):
    names = [f"{name}.nii.gz" for name in ("case[ct]1", "[red]2", ":smile:")]
    for name in names:
        write(tmp_path / "gt" / name, body())
        write(tmp_path / "pred" / name, body(1))
    found = evaluate_pairs(find_pairs(tmp_path / "pred", tmp_path / "gt"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_tables(evaluation_tables(found, []))
    out = capsys.readouterr().out
    for text in ("case[ct]1", "[red]2", ":smile:", "0.8750", "0.7778"):
        assert text in out


def test_images_without_a_report_to_lie_in_are_refused(tmp_path):
    pred, truth = cohort(tmp_path, [0])
    with pytest.raises(UsageError, match="--images lie under the pictures of --report"):
        run(pred, truth, "--images", pred)


def test_json_is_data_alone_and_holds_the_names_of_old(tmp_path):
    pred, truth = cohort(tmp_path, [0, 3])
    result = run(pred, truth, "--json")
    found = json.loads(result.stdout)
    for name in ("accuracy", "iou_at_0.5", "mean_iou", "dice", "hausdorff_mm", "jaccard", "precision", "recall",
                 "pixel_accuracy"):  # fmt: skip
        assert isinstance(found["overall"][name], float)
    assert len(found["cases"]) == 8
    assert found["organs"]["liver"]["metrics"]["dice"]["n"] == 2
    assert found["confusion"]["names"][:2] == ["background", "liver"]


def test_infinity_and_nothing_are_kept_apart(tmp_path):
    empty = body()
    empty[empty == 4] = 0
    pred, truth = cohort(tmp_path, [0, 0], truths=[body(), empty])
    write(pred / "c0_seg.nii.gz", empty)
    write(pred / "c1_seg.nii.gz", empty)
    found = {(row["case"], row["organ"]): row for row in json.loads(run(pred, truth, "--json").stdout)["cases"]}
    assert (found["c0", "spleen"]["hd95_mm"], found["c0", "spleen"]["status"]) == ("inf", "false_negative")
    assert (found["c1", "spleen"]["hd95_mm"], found["c1", "spleen"]["status"]) == (None, "true_negative")
    run(pred, truth, "-q", "-o", tmp_path / "s.csv")
    written = {(row["case"], row["organ"]): row for row in rows(tmp_path / "s.csv")}
    assert (written["c0", "spleen"]["hd95_mm"], written["c1", "spleen"]["hd95_mm"]) == ("inf", "")


def test_a_missing_prediction_fails_after_everything_is_written(tmp_path):
    pred, truth = cohort(tmp_path, [0, None])
    with pytest.raises(MissingPredictionError, match="1 of 2"):
        run(pred, truth, "-q", "-o", tmp_path / "s.csv")
    assert [row["dice"] for row in rows(tmp_path / "s.csv") if row["organ"] == "liver"] == ["1", "0"]
    assert MissingPredictionError.exit_code == 12


def test_two_files_with_two_schemes(tmp_path):
    totalseg = np.array([0, 5, 2, 3, 1], np.uint8)[body()]
    flare = np.array([0, 1, 2, 13, 3], np.uint8)[body()]
    pair = write(tmp_path / "a.nii.gz", totalseg), write(tmp_path / "b.nii.gz", flare)
    found = json.loads(run(*pair, "--pred-labels", "totalseg", "--gt-labels", "flare22", "--json").stdout)
    assert [row["dice"] for row in found["cases"]] == [1, 1, 1, 1]


def test_a_scheme_may_come_from_a_file(tmp_path):
    scheme = tmp_path / "mine.json"
    scheme.write_text('{"7": "liver", "9": "spleen"}')
    labels = np.array([0, 7, 0, 0, 9], np.uint8)[body()]
    pair = write(tmp_path / "a.nii.gz", body()), write(tmp_path / "b.nii.gz", labels)
    found = json.loads(run(*pair, "--gt-labels", scheme, "--json", "-q").stdout)
    assert [(row["organ"], row["dice"]) for row in found["cases"]] == [("liver", 1), ("spleen", 1)]
    scheme.write_text("[1, 2]")
    assert "no scheme" in run(*pair, "--gt-labels", scheme).stderr
    assert "no label scheme" in run(*pair, "--gt-labels", "flair22").stderr


def test_tolerances_and_surfaces_can_be_chosen(tmp_path):
    pred, truth = cohort(tmp_path, [2])
    wanted = [pred, truth, "--json", "--tolerance", "2", "--tolerance", "liver=1"]
    plain = {row["organ"]: row for row in json.loads(run(*wanted).stdout)["cases"]}
    assert (plain["liver"]["nsd_tolerance_mm"], plain["spleen"]["nsd_tolerance_mm"]) == (1, 2)
    assert (plain["liver"]["nsd"] < 1, plain["spleen"]["nsd"]) == (True, 1)
    elements = {row["organ"]: row for row in json.loads(run(*wanted, "--surface", "elements").stdout)["cases"]}
    assert elements["liver"]["nsd"] != plain["liver"]["nsd"]
    assert elements["liver"]["surface"] == "elements"
    assert "there is no organ" in run(pred, truth, "--tolerance", "hart=1").stderr
    assert "no tolerance" in run(pred, truth, "--tolerance", "liver=-1").stderr


def test_other_grids_are_refused_and_resampled_when_asked(tmp_path):
    pred, truth = cohort(tmp_path, [0])
    write(pred / "c0_seg.nii.gz", body().repeat(2, axis=0), spacing=(0.5, 1.0, 2.0))
    with pytest.raises(GeometryError, match="48 x 20 x 16"):
        run(pred, truth)
    assert run(pred, truth, "--resample", "linear").exit_code == 0


def test_the_official_numbers_stand_beside_ours(tmp_path):
    pred, truth = cohort(tmp_path, [2, 4])
    out = tmp_path / "s.csv"
    result = run(pred, truth, "--compat", "flare22", "-o", out)
    assert "surface elements against border voxels" in result.stdout
    official = rows(tmp_path / "s_flare22.csv")
    assert list(official[0])[:3] == ["Name", "Liver_DSC", "RK_DSC"]
    assert official[0]["Name"] == "c0_seg.nii.gz"
    assert float(official[0]["Liver_DSC"]) == 0.75
    found = json.loads(run(pred, truth, "--compat", "flare22", "--json").stdout)
    assert found["flare22"][0]["dsc"] == 0.75


def test_outputs_are_not_replaced_unless_asked(tmp_path):
    pred, truth = cohort(tmp_path, [0])
    out = tmp_path / "s.csv"
    out.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        run(pred, truth, "-o", out)
    assert out.read_text() == "mine"
    run(pred, truth, "-o", out, "--overwrite")
    assert out.read_text().startswith("case,organ,status,dice")


def test_labels_that_the_scheme_does_not_know_are_named(tmp_path):
    strange = body()
    strange[0, 0, :3] = 77
    pair = write(tmp_path / "a.nii.gz", strange), write(tmp_path / "b.nii.gz", body())
    out, report = tmp_path / "s.csv", tmp_path / "r.html"
    result = run(*pair, "--json", "-o", out, "--report", report)
    warning = "labels of predictions that --pred-labels has no name for, counted as background: 77 (in b)"
    assert result.stderr.count("77") == 1
    assert warning in result.stderr
    assert warning in report.read_text()
    found = json.loads(result.stdout)
    assert found["unknown_labels"] == {"truth": {}, "prediction": {"77": ["b"]}}
    assert warning in found["warnings"]
    last = rows(tmp_path / "s_summary.csv")[-1]
    assert (last["organ"], last["metric"], last["n"], last["mean"]) == ("label 77", "unknown_in_prediction", "1", "")


def test_the_exit_code_of_a_missing_prediction_is_12(tmp_path):
    command = [sys.executable, "-m", "abdoseg", "eval", *map(str, cohort(tmp_path, [0, None]))]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 12
    assert "count as nothing found: c1" in result.stderr
    assert "Traceback" not in result.stderr


def test_quiet_says_nothing_but_the_table(tmp_path):
    pred, truth = cohort(tmp_path, [0, 0, 0])
    assert "Dice is 1.0000, IoU is 1.0000" in run(pred, truth).stderr
    assert run(pred, truth, "-q").stderr == ""


def test_lesions_have_a_table_and_a_csv_of_their_own(tmp_path):
    sick = body()
    sick[3:5, 9:11, 5:7] = 5
    pred, truth = cohort(tmp_path, [0, 0], truths=[sick, body()])
    write(pred / "c0_seg.nii.gz", sick)
    result = run(pred, truth, "-q", "-o", tmp_path / "s.csv", "--report", tmp_path / "r.html")
    assert "Lesions" in result.stdout and "1 of 1" in result.stdout
    assert "without liver_tumour, which not all cases have" in " ".join(result.stdout.split())
    (lesions,) = rows(tmp_path / "s_lesions.csv")
    assert (lesions["organ"], lesions["organs"], lesions["healthy"]) == ("liver_tumour", "2", "1")
    assert (lesions["found_below_10_mm"], lesions["lesions_below_10_mm"]) == ("1", "1")
    assert "Lesions one by one" in (tmp_path / "r.html").read_text()


def test_a_lesion_is_found_when_more_than_the_overlap_is_covered_and_the_json_says_which(tmp_path):
    truth = body()
    truth[3:7, 9:11, 5:7] = 5
    prediction = body()
    prediction[3:5, 9:11, 5:7] = 5  # half of it
    pair = write(tmp_path / "p.nii.gz", prediction), write(tmp_path / "t.nii.gz", truth)
    for overlap, found in ((0, 1), (0.4, 1), (0.5, 0)):
        result = json.loads(run(*pair, "--json", "--lesion-overlap", overlap).stdout)
        tumour = next(row for row in result["cases"] if row["organ"] == "liver_tumour")
        assert (tumour["lesion_tp"], tumour["lesion_fn"], tumour["lesion_fp"]) == (found, 1 - found, 0)
        assert result["settings"]["lesion_overlap"] == overlap
