"""The cache: packed once, noticed when stale or damaged, and never half written."""

import errno

import numpy as np
import pytest
from tiny import known, packed, patient

from abdoseg.errors import OutputError, ResourceError, ScanError
from abdoseg.training.data import cache
from abdoseg.training.data.cache import CaseArrays, CaseSource, prepare_cases


def reader(calls, fail=()):
    def read(case):
        calls.append(case)
        if case in fail:
            raise ScanError(f"{case}.nii.gz: truncated")
        hu, labels = patient(0)
        return CaseArrays({"image": hu, "labels": labels}, (6.0, 6.0, 8.0))

    return read


def sources(*stamps):
    return [CaseSource(f"c{n}", stamp, ("liver",)) for n, stamp in enumerate(stamps)]


def test_a_second_packing_reads_nothing(tmp_path):
    calls = []
    prepare_cases(tmp_path, sources("a", "b"), reader(calls))
    done, _ = prepare_cases(tmp_path, sources("a", "b"), reader(calls))
    assert calls == ["c0", "c1"]
    assert (done[0].array("labels") == patient(0)[1]).all() and isinstance(done[0].array("image").base, np.memmap)


def test_a_changed_source_is_packed_again(tmp_path):
    calls = []
    prepare_cases(tmp_path, sources("a", "b"), reader(calls))
    prepare_cases(tmp_path, sources("a", "changed"), reader(calls))
    assert calls == ["c0", "c1", "c1"]


def test_the_manifest_follows_what_is_annotated_whose_a_case_is_and_which_are_left(tmp_path):
    """Folders that `abdoseg prepare` wrote are trained from by their manifest alone."""
    calls = []
    prepare_cases(tmp_path, sources("a", "b", "c"), reader(calls))
    fewer = [CaseSource("c0", "a", ("liver", "spleen")), CaseSource("c1", "b", ("liver",), "c0")]
    done, _ = prepare_cases(tmp_path, fewer, reader(calls))
    assert calls == ["c0", "c1", "c2"] and known(tmp_path) == list(done)
    assert [(one.case, one.annotated, one.patient) for one in known(tmp_path)] == [
        ("c0", ("liver", "spleen"), ""), ("c1", ("liver",), "c0"),
    ]  # fmt: skip


def test_a_case_that_memory_does_not_hold_is_reported_with_a_remedy(tmp_path):
    def read(case):
        raise MemoryError("Unable to allocate 2.01 TiB")

    with pytest.raises(ResourceError, match=r"c0: there is not enough memory to pack it; .*coarser spacing_mm"):
        prepare_cases(tmp_path, sources("a"), read, keep_going=True)


def test_a_damaged_array_is_packed_again(tmp_path):
    calls = []
    prepare_cases(tmp_path, sources("a"), reader(calls))
    path = tmp_path / "c0.image.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    prepare_cases(tmp_path, sources("a"), reader(calls))
    assert calls == ["c0", "c0"] and path.read_bytes() != bytes(content)


def test_a_damaged_or_older_manifest_starts_afresh(tmp_path):
    for text in ("{", '{"version": 1, "cases": []}', '{"version": 2}'):
        calls = []
        prepare_cases(tmp_path, sources("a"), reader([]))
        (tmp_path / "manifest.json").write_text(text)
        prepare_cases(tmp_path, sources("a"), reader(calls))
        assert calls == ["c0"]


def test_cases_before_the_one_that_failed_stay_packed(tmp_path):
    with pytest.raises(ScanError, match=r"c1: c1.nii.gz: truncated; or pass --keep-going"):
        prepare_cases(tmp_path, sources("a", "b"), reader([], fail=["c1"]))
    assert [case.case for case in known(tmp_path)] == ["c0"]
    done, left_out = prepare_cases(tmp_path, sources("a", "b"), reader([], fail=["c1"]), keep_going=True)
    assert [case.case for case in done] == ["c0"] and left_out == (("c1", "c1.nii.gz: truncated"),)


def test_a_full_disk_is_reported_and_leaves_no_half_array(tmp_path, monkeypatch):
    def full(file, array):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.np, "save", full)
    with pytest.raises(OutputError, match=r"c0\.image\.npy: the disk is full.*--cache"):
        prepare_cases(tmp_path, sources("a"), reader([]))
    assert not list(tmp_path.iterdir()) and known(tmp_path) == []


def test_an_array_whose_last_bytes_find_no_room_is_told(tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    whole = 128 + 2 * patient(0)[0].size
    for limit in (whole - 100, 5000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OutputError, match=r"c0\.image\.npy: larger than the file system"):
                prepare_cases(tmp_path, sources("a"), reader([]))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_the_digest_changes_with_what_was_annotated(tmp_path):
    assert packed(tmp_path).digest() == packed(tmp_path).digest() != packed(tmp_path, annotated=("liver",)).digest()
