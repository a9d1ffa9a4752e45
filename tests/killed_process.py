"""What a process leaves that is killed while it writes a file."""

import signal
import subprocess
import sys

CODE = """
import os, sys
from abdoseg.runtime.files import writing
with writing(sys.argv[1], overwrite=True) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""


def killed_while_writing(path):
    """The temporary file that is left."""
    done = subprocess.run([sys.executable, "-c", CODE, path], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = path.parent.glob(f".*-{path.name}")
    return left
