"""Files are whole or not there."""

import errno
import os

import pytest

from radproof.core.files import atomic, sha256_file, write_bytes, write_text
from radproof.errors import StorageFull


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a" / "result.json"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    path = tmp_path / "result.json"
    with pytest.raises(StorageFull, match="is full"), atomic(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_other_errors_pass_through(tmp_path):
    with pytest.raises(PermissionError), atomic(tmp_path / "x"):
        raise PermissionError(errno.EACCES, "no")


def test_hash_of_a_known_content(tmp_path):
    write_bytes(tmp_path / "x", b"abc")
    assert sha256_file(tmp_path / "x").startswith("ba7816bf8f01cfea")


def test_two_processes_of_one_number_do_not_write_into_each_others_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)  # as every guarded one has it
    with atomic(tmp_path / "a") as one, atomic(tmp_path / "a") as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "a").read_text() == "one"
    assert os.listdir(tmp_path) == ["a"]
