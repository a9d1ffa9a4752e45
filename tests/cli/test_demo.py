"""abdoseg demo on the command line: a patient made, segmented, scored; everything left to look at."""

from click.testing import CliRunner
from phantom_balls import model

from abdoseg.cli.demo import demo
from abdoseg.errors import OutputError


def test_demo_leaves_scan_truth_labelmap_volumes_and_picture(tmp_path, monkeypatch):
    monkeypatch.setattr("abdoseg.model.weights.load_model", lambda name=None, device="auto": model())
    result = CliRunner().invoke(demo, ["-o", str(tmp_path)], standalone_mode=False)
    assert result.exception is None
    assert [line.rsplit("/", 1)[-1] for line in result.stdout.splitlines()] == [
        "demo.nii.gz", "demo_truth.nii.gz", "demo_seg.nii.gz", "demo_volumes.csv", "demo.json", "demo_sheet.png",
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        line.rsplit("/", 1)[-1] for line in result.stdout.splitlines()
    )
    assert "Dice" in result.stderr
    again = CliRunner().invoke(demo, ["-o", str(tmp_path)], standalone_mode=False)
    assert isinstance(again.exception, OutputError)
