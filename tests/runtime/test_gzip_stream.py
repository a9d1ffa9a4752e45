"""Bytes that are gunzipped ahead of who takes them are the file's own, and so are the errors."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from abdoseg.errors import ScanError
from abdoseg.runtime import gzip_stream as gunzip
from abdoseg.runtime.gzip_stream import PrefetchedStream, prefetch

DATA = np.random.default_rng(0).integers(0, 50, 100_000, np.uint8).tobytes()


def taken(stream, size):
    parts = []
    while part := stream.read(size):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("size", [7_000, 10_000, 1_000_000])
def test_the_bytes_are_the_files_whatever_is_asked_for_at_a_time(tmp_path, monkeypatch, size):
    monkeypatch.setattr(gunzip, "PIECE_BYTES", 10_000)
    monkeypatch.setattr(gunzip, "MAX_PIECES", 2)
    (tmp_path / "a.gz").write_bytes(gzip.compress(DATA[:60_000]) + gzip.compress(DATA[60_000:]))
    stream = prefetch(tmp_path / "a.gz")
    assert taken(stream, size) == DATA
    assert stream.read(5) == b""


def test_the_error_comes_where_the_bytes_would_have_been(tmp_path, monkeypatch):
    monkeypatch.setattr(gunzip, "PIECE_BYTES", 10_000)
    packed = gzip.compress(DATA)
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    stream = PrefetchedStream(tmp_path / "cut.gz")
    assert stream.read(1_000) == DATA[:1_000]
    with pytest.raises(ScanError, match=r"cut.gz: truncated or damaged gzip"):
        taken(stream, 1_000)
    assert stream.read(1) == b""
    (tmp_path / "sum.gz").write_bytes(packed[:-8] + bytes(4) + packed[-4:])
    with pytest.raises(ScanError, match=r"sum.gz: truncated or damaged gzip"):
        taken(PrefetchedStream(tmp_path / "sum.gz"), 10_000)


def test_what_is_no_gzip_is_left_to_its_reader(tmp_path):
    (tmp_path / "plain").write_bytes(DATA)
    (tmp_path / "empty").touch()
    if hasattr(os, "mkfifo"):  # not on Windows
        os.mkfifo(tmp_path / "pipe")
    paths = [tmp_path / name for name in ("plain", "empty", "missing", "pipe")]
    for path in (*paths, tmp_path, Path("x" * 5_000), Path("a\0b")):
        assert prefetch(path) is None


def test_an_error_that_nobody_foresaw_is_raised_too(tmp_path, monkeypatch):
    (tmp_path / "a.gz").write_bytes(gzip.compress(DATA))
    monkeypatch.setattr(gunzip, "open_decompressed", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        PrefetchedStream(tmp_path / "a.gz").read(5)
