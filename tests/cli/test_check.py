"""abdoseg check: verdicts, exit codes, and the worst scan first."""

import json

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner

from abdoseg.cli.check import check

AFFINE = np.diag([3.2, 3.2, 5.0, 1.0])


def trunk(lungs):
    i, j = np.meshgrid(np.linspace(-1, 1, 90), np.linspace(-1, 1, 70), indexing="ij")
    body = np.where((i / 0.9) ** 2 + (j / 0.8) ** 2 < 1, 40, -1000)
    body[np.hypot(i * 45, (j + 0.45) * 35) < 4] = 400
    chest = np.where((np.abs(np.abs(i) - 0.45) < 0.3) & (np.abs(j) < 0.35), -850, body)
    return np.stack([body] * 50 + [chest] * lungs, axis=2).astype(np.int16)


@pytest.fixture
def cohort(tmp_path):
    nibabel.save(nibabel.Nifti1Image(trunk(10), AFFINE), tmp_path / "good.nii.gz")
    nibabel.save(nibabel.Nifti1Image(trunk(0), AFFINE), tmp_path / "cut.nii.gz")
    (tmp_path / "bad.nii.gz").write_bytes(b"no scan at all, this")
    return tmp_path


def run(*args, **kwargs):
    return CliRunner().invoke(check, [str(arg) for arg in args], standalone_mode=False, **kwargs)


@pytest.mark.parametrize(("name", "verdict", "code"), [("good", "ok", 0), ("cut", "review", 4), ("bad", "unusable", 5)])
def test_one_scan_has_one_verdict_and_its_exit_code(cohort, name, verdict, code):
    result = run(cohort / f"{name}.nii.gz")
    assert result.stdout.startswith(verdict)
    assert result.return_value == code


def test_a_cohort_is_listed_worst_first_with_the_worst_exit_code(cohort):
    result = run(*[cohort / f"{name}.nii.gz" for name in ("good", "bad", "cut")])
    rows = [line.split()[0] for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert rows == ["unusable", "review", "ok", "1"]
    assert result.stdout.splitlines()[-1] == "1 ok, 1 review, 1 unusable"
    assert result.return_value == 5


def test_json_is_one_object_a_scan_in_the_order_given(cohort):
    names = [str(cohort / f"{name}.nii.gz") for name in ("good", "bad", "cut")]
    result = run("--json", "-", input="\n".join(names) + "\n")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["scan"] for row in rows] == names
    assert [row["verdict"] for row in rows] == ["ok", "unusable", "review"]
    assert rows[0]["coverage"]["lungs_above_mm"] == 50
    assert rows[2]["reasons"] == ["no lung at the upper end: the dome of the liver and the spleen may be cut"]
