"""A few kills, full disks and pairs of the soak programs, so that they keep working: the long runs are made by hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
PARTS = {
    "kills": "kill_runs.main(['--light', '--kills', '1'])",
    "disks": "full_disk.main(['--light', '--steps', '1', '--only', 'segment'])",
    "limits": "full_disk.main(['--light', '--steps', '1', '--limit-files'])",
    "pairs": "two_at_once.main(['--light', '--pairs', '1', '--only', 'segment'])",
}


@pytest.fixture(scope="module")
def mountable(tmp_path_factory):
    """Whether a disk may be mounted here."""
    folder = str(tmp_path_factory.mktemp("disk"))
    words = ["mount", "-t", "tmpfs", "none", folder]
    if os.geteuid() or subprocess.run(words, capture_output=True, check=False).returncode:
        return False
    subprocess.run(["umount", folder], check=True)
    return True


@pytest.fixture(scope="module")
def said(mountable):
    """What each part said, all in one process, since imports take the longest."""
    parts = [name for name in PARTS if name != "disks" or mountable]
    lines = [f"print('PART {name}', {PARTS[name]}, flush=True)" for name in parts]
    code = "import full_disk, kill_runs, two_at_once\n" + "\n".join(lines)
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_killed_runs_leave_nothing_half_written_and_end_as_if_they_had_not_been_killed(said):
    assert "PART kills 0" in said, said


def test_a_full_disk_is_told_and_costs_what_did_not_fit(said, mountable):
    if not mountable:
        pytest.skip("mounting is not allowed here")
    assert "PART disks 0" in said, said


def test_a_limit_on_files_is_told_and_costs_what_exceeds_it(said):
    assert "PART limits 0" in said, said


def test_two_runs_on_one_folder_end_well_or_are_told(said):
    assert "PART pairs 0" in said, said
