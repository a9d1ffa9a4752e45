"""The Containerfile and the workflow files in man/workflows: commands that exist, and an array job that runs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import phantom_balls
import pytest

from abdoseg.cli.segment import segment
from abdoseg.io import write_nifti

ROOT = Path(__file__).parents[1]
WORKFLOWS = ROOT / "man" / "workflows"
INSTRUCTIONS = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "ENTRYPOINT", "CMD"}


@pytest.mark.parametrize("name", ["slurm.sh", "slurm.yaml", "Snakefile", "segment.nf"])
def test_every_flag_of_a_workflow_is_one_of_segment(name):
    known = {flag for option in segment.params for flag in (*option.opts, *option.secondary_opts)}
    lines = [line for line in (WORKFLOWS / name).read_text().splitlines() if "abdoseg segment" in line]
    assert lines
    for line in lines:
        command = re.split(r"[;:>]", line.split("abdoseg segment", 1)[1])[0]
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", command)) <= known


def test_the_tasks_of_an_array_do_every_scan_once_and_go_on_when_requeued(tmp_path):
    volume, _ = phantom_balls.scan()
    (tmp_path / "cohort").mkdir()
    for n in range(3):
        volume.voxels[0, 0, 0] -= 1
        write_nifti(volume.voxels, volume.stored, tmp_path / "cohort" / f"s{n}.nii.gz")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "abdoseg"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m abdoseg "$@"\n')
    command.chmod(0o755)
    for task in ("0", "1", "0"):
        environment = os.environ | {
            "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
            "SLURM_ARRAY_TASK_ID": task, "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "1",
        }  # fmt: skip
        done = subprocess.run(["bash", WORKFLOWS / "slurm.sh", tmp_path / "cohort", tmp_path / "out"],
                              env=environment, capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert "2 of 2 cases are done already" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*_seg.nii.gz")) == [
        f"s{n}_seg.nii.gz" for n in range(3)
    ]
    assert len((tmp_path / "out" / "cohort.csv").read_text().splitlines()) == 4


def test_the_container_copies_what_is_there_runs_as_nobody_special_and_starts_abdoseg():
    text = (ROOT / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    assert {name for name, _ in lines} <= INSTRUCTIONS
    for name, rest in lines:
        if name == "FROM":
            assert re.match(r"python:\d[\w.-]*", rest), "a tag that does not move under us"
        if name == "COPY" and "--from" not in rest:
            assert all((ROOT / source).exists() for source in rest.split()[:-1])
    last = dict(lines)
    assert last["USER"] not in ("root", "0")
    assert last["ENTRYPOINT"] == '["abdoseg"]'
    assert text.index("USER abdoseg") < text.index("ENTRYPOINT")


def test_the_container_holds_all_that_the_package_is_built_from():
    import tomllib

    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    sources = {path.split("/")[0] for path in (*build["force-include"], *build["shared-data"])}
    copied = (ROOT / "Containerfile").read_text()
    assert all(f"COPY {source} {source}" in copied for source in sources)
