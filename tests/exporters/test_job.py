"""The registry of export formats, and the names of what they write."""

import ast
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from organs import make

import abdoseg
from abdoseg.errors import OutputError, UsageError
from abdoseg.exporters import EXPORTERS
from abdoseg.exporters.job import ExportOptions, export, planned


def test_every_format_in_the_registry_has_its_function():
    for exporter in EXPORTERS.values():
        module, function = exporter.function.split(":")
        assert callable(getattr(import_module(f"abdoseg.exporters.{module}"), function))


def test_the_registry_imports_nothing_heavy():
    tree = ast.parse((Path(abdoseg.__file__).parent / "exporters" / "__init__.py").read_text())
    modules = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    assert modules <= {"__future__", "shutil", "collections.abc", "dataclasses", "pathlib", "abdoseg.errors"}


def test_output_names_follow_the_case():
    names = [path.name for _, _, path in planned(make(case="ct 7"), Path("out"), ["nifti", "nrrd", "stl", "report"])]
    assert names[:3] == ["ct 7_seg.nii.gz", "ct 7.seg.nrrd", "ct 7_liver.stl"]
    assert names[-1] == "ct 7_report.html"


def test_names_differ_between_formats():
    paths = [path for split in (True, False) for _, _, path in planned(make(), Path(), list(EXPORTERS), split)]
    shared = [name for name, made in EXPORTERS.items() if made.per_organ is None]
    assert len(paths) == len(set(paths)) + len(shared)


def write_all(folder):
    """Every format that needs no DICOM series; those have a test of their own."""
    formats = [name for name in EXPORTERS if name not in ("dicom-seg", "rtstruct", "dicom-sr")]
    job = make(options=ExportOptions(seconds=0.4, fps=10))
    return list(export(replace(job, truth=job.labelmap), Path(folder), formats))


def test_every_format_has_the_same_bytes_in_another_process(tmp_path):
    written = write_all(tmp_path / "a")
    command = [sys.executable, "-c", "import sys, test_job; test_job.write_all(sys.argv[1])", tmp_path / "b"]
    subprocess.run(command, check=True, cwd=Path(__file__).parent, env={**os.environ, "PYTHONHASHSEED": "1"})
    assert len(written) == len({path.name for path in (tmp_path / "b").iterdir()})
    assert [path.name for path in written if path.read_bytes() != (tmp_path / "b" / path.name).read_bytes()] == []


def test_an_existing_file_stops_everything_before_any_work(tmp_path):
    (tmp_path / "phantom_organs.csv").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        list(export(make(), tmp_path, ["stl", "csv"]))
    assert [path.name for path in tmp_path.iterdir()] == ["phantom_organs.csv"]
    list(export(make(), tmp_path, ["csv"], overwrite=True))
    assert (tmp_path / "phantom_organs.csv").read_text() != "mine"


def test_a_failing_exporter_leaves_nothing_behind(tmp_path):
    with pytest.raises(UsageError, match="--reference"):
        list(export(make(), tmp_path, ["dicom-seg"]))
    assert list(tmp_path.iterdir()) == []


def test_surfaces_and_rows_are_made_once_for_all_formats(tmp_path, monkeypatch):
    job, calls = make(), Counter()

    def counted(module, name):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, **named: calls.update([name]) or real(*given, **named))

    counted(import_module("abdoseg.image.mesh"), "surface")
    counted(import_module("abdoseg.exporters.job"), "measure")
    list(export(job, tmp_path, ["stl", "ply", "csv"]))
    assert calls == {"surface": 5}


def test_a_job_of_one_organ_leaves_the_whole_one_as_it_was():
    job = make()
    assert [row.organ for row in job.only("liver").rows] == ["liver"]
    assert [row.organ for row in job.rows] == list(job.labelmap.organs.values())
    assert job.only("spleen").rows == (job.rows[3],)
