"""A claimed folder is one process's; the claim of a killed one lapses."""

import os
import subprocess
import sys
import time

import pytest

from abdoseg.errors import OutputError
from abdoseg.runtime.claim import CLAIM, claim
from abdoseg.runtime.files import machine

HOLD = """
import os, signal, sys, time
from pathlib import Path
from abdoseg.runtime.claim import claim
with claim(Path(sys.argv[1]), beat_s=.05):
    print("held", flush=True)
    time.sleep(30)
"""


def holder(folder):
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_claim_leaves_nothing_and_can_be_made_again(tmp_path):
    for _ in range(2):
        with claim(tmp_path / "run"):
            assert [path.name for path in (tmp_path / "run").iterdir()] == [CLAIM]
    assert not list((tmp_path / "run").iterdir())


def test_a_folder_that_another_process_holds_is_refused_and_stays_its(tmp_path):
    with holder(tmp_path) as process:
        before = (tmp_path / CLAIM).read_text()
        with pytest.raises(OutputError, match=rf"another process \({process.pid} on .*\) trains here; wait"):
            claim(tmp_path).__enter__()
        assert (tmp_path / CLAIM).read_text() == before
        process.kill()


def test_the_claim_of_a_killed_process_of_this_machine_lapses_at_once(tmp_path):
    with holder(tmp_path) as process:
        process.kill()
    assert (tmp_path / CLAIM).exists()
    start = time.monotonic()
    with claim(tmp_path, beat_s=0.05):
        assert time.monotonic() - start < 2
        assert (tmp_path / CLAIM).read_text().startswith(f"{os.getpid():x} ")
    assert not (tmp_path / CLAIM).exists()


DAMAGED = ["", "12", "\xff 1 a\n", f"zz {machine()} here\n", f"{'f' * 30} {machine()} here\n"]


@pytest.mark.parametrize("text", [f"{os.getpid():x} 00000000 elsewhere\n", *DAMAGED])
def test_one_from_elsewhere_or_damaged_lapses_when_nobody_touches_it(tmp_path, text):
    (tmp_path / CLAIM).write_bytes(text.encode("latin-1"))
    with claim(tmp_path, beat_s=0.05, lapse_s=0.3):
        assert (tmp_path / CLAIM).read_text().startswith(f"{os.getpid():x} ")


def test_one_from_elsewhere_that_is_touched_holds(tmp_path):
    with holder(tmp_path) as process:
        (tmp_path / CLAIM).write_text("1f 00000000 elsewhere\n")
        with pytest.raises(OutputError, match=r"another process \(31 on elsewhere\)"):
            claim(tmp_path, lapse_s=5).__enter__()
        process.kill()


def test_of_two_that_take_a_lapsed_claim_over_one_has_it(tmp_path):
    (tmp_path / CLAIM).write_text("1f 00000000 elsewhere\n")
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom abdoseg.errors import OutputError\n"
        "from abdoseg.runtime.claim import claim\n"
        "try:\n    with claim(Path(sys.argv[1]), lapse_s=1):\n        time.sleep(3)\n        print('held')\n"
        "except OutputError:\n    print('refused')\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert sorted(process.communicate()[0] for process in both) == ["held\n", "refused\n"]


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        claim(tmp_path / "file" / "run").__enter__()
