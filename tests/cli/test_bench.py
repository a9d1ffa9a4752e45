"""abdoseg bench on the command line: a row a stage, and nothing left behind."""

import json

import pytest
from click.testing import CliRunner
from phantom_balls import model, scan

from abdoseg.cli.bench import bench
from abdoseg.io import write_nifti

STAGES = [
    "import", "load model", "read", "resample", "network", "postprocess", "labels", "measure", "quality", "write",
    "all",
]  # fmt: skip


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr("abdoseg.model.weights.load_model", lambda name=None, device="auto": model())
    volume, _ = scan()
    write_nifti(volume.voxels, volume.stored, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_each_stage_has_its_row_and_nothing_is_left(path):
    result = CliRunner().invoke(bench, [str(path), "--repeat", "2"], standalone_mode=False)
    assert result.exception is None
    lines = result.stdout.splitlines()
    assert [line[:12].strip() for line in lines[1:12]] == STAGES
    assert "80 x 60 x 40" in lines[12]
    assert list(path.parent.iterdir()) == [path]


def test_json_has_the_same_in_numbers(path):
    result = CliRunner().invoke(bench, [str(path), "--repeat", "1", "--json"], standalone_mode=False)
    found = json.loads(result.stdout)
    assert [row["stage"] for row in found["stages"]] == STAGES
    assert found["shape"] == [80, 60, 40]
    assert all(row["seconds"] >= 0 for row in found["stages"])
