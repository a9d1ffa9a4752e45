"""Memory that a process has held, and gives back."""

import platform
import subprocess
import sys

import pytest

from abdoseg.runtime.memory import peak_memory

FREES = """
from abdoseg.cli.process import tune_process
from abdoseg.runtime.memory import release_freed_memory

def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

tune_process()
blocks = [(b"1" * 2**20, bytearray(2000)) for _ in range(200)]
small = [pair[1] for pair in blocks]
del blocks
before = rss()
assert release_freed_memory()
print(before - rss())
"""


def test_peak_memory_counts_what_is_held():
    before = peak_memory()
    held = bytearray(before + 2**26)
    held[:: 2**12] = b"1" * len(held[:: 2**12])
    assert peak_memory() > before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of glibc")
def test_what_was_freed_between_blocks_in_use_goes_back_to_the_system():
    freed = subprocess.run([sys.executable, "-c", FREES], capture_output=True, text=True, check=True).stdout
    assert int(freed) > 150 * 2**20
