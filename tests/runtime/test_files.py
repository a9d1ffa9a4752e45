"""Outputs appear whole or not at all, and what the file system refuses is said in words."""

import errno
import os
import time

import pytest
from killed_process import killed_while_writing

from abdoseg.errors import OutputError
from abdoseg.runtime.files import ensure_absent, ensure_writable, remove_leftovers, writing


def test_a_file_appears_under_its_name_when_the_block_ends(tmp_path):
    with writing(tmp_path / "new" / "case_seg.nii.gz") as temporary:
        temporary.write_text("whole")
        assert temporary.name.endswith(".nii.gz")
        assert temporary.parent == tmp_path / "new"
        assert not (tmp_path / "new" / "case_seg.nii.gz").exists()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["case_seg.nii.gz"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failed_or_interrupted_block_leaves_nothing(tmp_path, failure):
    with pytest.raises(failure), writing(tmp_path / "a.csv") as temporary:
        temporary.write_text("half")
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_an_error_and_stays(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(OutputError, match="--overwrite"), writing(path):
        pytest.fail("the block must not run")
    assert path.read_text() == "old"


def test_overwrite_replaces_and_a_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(ValueError, match="no"), writing(path, overwrite=True) as temporary:
        temporary.write_text("half")
        raise ValueError("no")
    assert path.read_text() == "old"
    with writing(path, overwrite=True) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_a_full_disk_names_the_path_and_the_remedy(tmp_path):
    with pytest.raises(OutputError, match=r"a\.csv: the disk is full; free"), writing(tmp_path / "a.csv"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_where_a_folder_should_be_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="folder"), writing(tmp_path / "file" / "a.csv"):
        pytest.fail("the block must not run")
    with pytest.raises(OutputError):
        ensure_writable(tmp_path / "file")


@pytest.mark.parametrize("letter", ["n", "\u540d", "\U0001fac1"], ids=["of 1 byte", "of 3", "of 4"])
def test_a_name_of_255_bytes_still_has_room_for_the_temporary_one(tmp_path, letter):
    path = tmp_path / (letter * (248 // len(letter.encode())) + ".nii.gz")
    with writing(path) as temporary:
        temporary.write_text("")
    assert path.exists()


def test_the_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    with writing(tmp_path / "ours") as temporary:
        temporary.write_text("")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_in_the_way_is_an_error_even_when_overwriting(tmp_path):
    with pytest.raises(OutputError, match="folder has this name"):
        ensure_absent([tmp_path], overwrite=True)


def test_a_writable_folder_is_made_and_left_empty(tmp_path):
    ensure_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_what_a_killed_process_left_is_removed_by_the_next_and_what_a_live_one_writes_stays(tmp_path):
    left = killed_while_writing(tmp_path / "a_seg.nii.gz")
    foreign = [tmp_path / ".profile", tmp_path / ".0a1b2c3d-a.nii"]
    for path in foreign:
        path.write_text("")
    with writing(tmp_path / "b.csv") as ours:
        ours.write_text("")
        ensure_writable(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([ours, *foreign])
    assert not left.exists()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_what_a_process_elsewhere_writes_stays_until_it_was_not_touched_for_long(tmp_path):
    left = killed_while_writing(tmp_path / "a.csv")
    _, process, _, *rest = left.name.replace(".", "-", 1).split("-")
    left = left.rename(tmp_path / f".{process}-00000000-{'-'.join(rest)}")
    ensure_writable(tmp_path)
    assert left.exists()
    os.utime(left, (time.time() - 700,) * 2)
    ensure_writable(tmp_path)
    assert not left.exists()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_leftovers_of_given_files_are_removed_and_nothing_else(tmp_path):
    left = [killed_while_writing(tmp_path / f"{name}_seg.nii.gz") for name in "ab"]
    (tmp_path / "a_seg.nii.gz").write_text("")
    remove_leftovers([tmp_path / "a_seg.nii.gz", tmp_path / "absent" / "c"])
    assert sorted(tmp_path.iterdir()) == sorted([left[1], tmp_path / "a_seg.nii.gz"])


def test_an_error_without_a_number_on_a_full_disk_is_a_full_disk(tmp_path, monkeypatch):
    def write():
        with writing(tmp_path / "a.npy"):
            raise OSError("4096 requested and 0 written")  # as numpy says it

    with pytest.raises(OutputError, match="cannot be written: 4096 requested"):
        write()
    monkeypatch.setattr("abdoseg.runtime.files.FULL_BYTES", 2**62)
    with pytest.raises(OutputError, match=r"a\.npy: the disk is full; free"):
        write()
