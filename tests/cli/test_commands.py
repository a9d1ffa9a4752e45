"""The command line as a whole: fast to start, errors in one line, exit codes as documented."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from abdoseg.cli import COMMANDS

HEAVY = ("torch", "scipy", "SimpleITK", "pydicom", "nibabel", "trimesh", "rich.progress", "rich.console", "imageio")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "abdoseg", *words], capture_output=True, text=True)


def test_help_imports_nothing_heavy():
    code = (
        "import sys, abdoseg.cli\n"
        "try: abdoseg.cli.commands.main(['--help'], prog_name='abdoseg')\n"
        f"except SystemExit: print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_of_its_own(name):
    done = run(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: abdoseg {name}")


def test_an_unknown_command_is_a_usage_error():
    done = run("segmment")
    assert done.returncode == 2
    assert "segmment" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_scan_is_one_line_that_names_it_and_exit_3(tmp_path):
    done = run("convert", str(tmp_path / "nowhere.nii.gz"), "-o", str(tmp_path / "out.nii.gz"))
    assert done.returncode == 3
    assert "nowhere.nii.gz" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_reader_that_has_heard_enough_is_no_failure(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"no scan")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-m", "abdoseg", "check", str(tmp_path)], stdout=writing,
                          stderr=subprocess.PIPE, text=True)  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_under_standard_output_is_reported_in_one_line(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"no scan")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "abdoseg", "check", str(tmp_path)], stdout=full,
                              stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert done.returncode == 8
    assert done.stderr.splitlines() == ["error: standard output: the disk is full; free some space and call again"]
