"""Opened files give their decompressed bytes from the first on, and say what is damaged."""

import gzip

import numpy as np
import pytest

from abdoseg.errors import ScanError
from abdoseg.runtime.gzip_stream import HEAD_BYTES, open_decompressed

DATA = np.random.default_rng(0).integers(0, 50, 100_000, np.uint8).tobytes()
PACKED = gzip.compress(DATA[:60_000]) + gzip.compress(DATA[60_000:])


@pytest.mark.parametrize("content", [DATA, PACKED, gzip.compress(DATA[:9])], ids=["plain", "two members", "short"])
def test_the_bytes_are_the_files_after_its_head_was_looked_at(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    whole = content if content is DATA else gzip.decompress(content)
    with open_decompressed(tmp_path / "a") as file:
        assert file.head == whole[:HEAD_BYTES]
        assert (file.is_gzip, file.stored_bytes) == (content is not DATA, len(content))
        assert file.stream.read() == whole


def test_damage_is_reported_where_the_bytes_would_have_been(tmp_path):
    packed = gzip.compress(DATA)
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    with (
        pytest.raises(ScanError, match=r"cut.gz: truncated or damaged gzip"),
        open_decompressed(tmp_path / "cut.gz") as file,
    ):
        assert file.stream.read(1_000) == DATA[:1_000]
        file.stream.read()
    (tmp_path / "sum.gz").write_bytes(packed[:-8] + bytes(4) + packed[-4:])
    with (
        pytest.raises(ScanError, match=r"sum.gz: truncated or damaged gzip"),
        open_decompressed(tmp_path / "sum.gz") as file,
    ):
        file.stream.read()


def test_what_cannot_be_opened_is_reported(tmp_path):
    (tmp_path / "empty").touch()
    for name, words in (("empty", "the file is empty"), ("missing", "no such file"), ("", "cannot be read")):
        with pytest.raises(ScanError, match=words), open_decompressed(tmp_path / name):
            pass
