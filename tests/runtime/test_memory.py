"""Memory that a process has held."""

from abdoseg.runtime.memory import peak_memory


def test_peak_memory_counts_what_is_held():
    before = peak_memory()
    held = bytearray(before + 2**26)
    held[:: 2**12] = b"1" * len(held[:: 2**12])
    assert peak_memory() > before
