"""A few inputs of the fuzzing script, so that it keeps working: the long runs are made by hand."""

import subprocess
import sys
from pathlib import Path


def test_mutated_scans_are_read_or_refused_and_nothing_else():
    script = Path(__file__).with_name("fuzz_readers.py")
    done = subprocess.run([sys.executable, script, "--runs", "60"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "0 findings" in done.stdout
