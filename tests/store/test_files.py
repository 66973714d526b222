# SPDX-License-Identifier: Apache-2.0
"""Uploaded files by their hash: whole or not there, counted while they come, gone when nobody names them."""

import hashlib
import io
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from tests.store.fresh import migrated

from radproof.errors import BadInput, RadproofError, StorageFull, UnknownName
from radproof.store import incoming
from radproof.store.database import Database
from radproof.store.files import Files, Incoming, Staged, TooLarge
from radproof.store.ids import new_id
from radproof.store.settings import MEGABYTE, Settings, read_settings
from radproof.store.tables import DataSet, File, Project

BYTES = b"some bytes" * 1000
SHA256 = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture(params=["", "file", "memory"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Of a server with each kind of place."""
    place = {"": "", "file": f"file://{tmp_path}/remote", "memory": f"memory://{uuid.uuid4().hex}"}[request.param]
    yield read_settings(home=tmp_path / "home", store=place)
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()


def left(settings: Settings) -> list[str]:
    """What lies in home, without the caches of what is elsewhere."""
    return sorted(p.relative_to(settings.home).as_posix() for p in settings.home.rglob("*") if p.is_file())


def test_a_stream_is_kept_by_its_hash_and_read_back(settings: Settings) -> None:
    files = Files(settings)
    assert files.put(io.BytesIO(BYTES), most=10**6) == SHA256
    assert files.has(SHA256) and files.local(SHA256).read_bytes() == BYTES
    assert files.local(SHA256).name == SHA256
    assert stat.S_IMODE(files.local(SHA256).stat().st_mode) == 0o600
    assert files.put(io.BytesIO(BYTES), most=10**6) == SHA256
    assert not list(settings.folder("uploads").iterdir())


def test_what_is_too_large_stops_at_once_and_leaves_nothing(settings: Settings) -> None:
    files = Files(settings)

    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            return b"x" * size

    stream = Endless()
    with pytest.raises(TooLarge, match=r"larger than 0\.01 MB"):
        files.put(stream, most=10_000)  # pyright: ignore[reportArgumentType]
    assert stream.given <= 2 * MEGABYTE and left(settings) == [] and TooLarge.http_status == 413


def test_a_stream_that_breaks_off_leaves_nothing(settings: Settings) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        Files(settings).put(Broken(), most=10_000)  # pyright: ignore[reportArgumentType]
    assert left(settings) == []


def test_a_full_disk_is_said_without_a_path_and_leaves_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = incoming.RESERVE - 1

    monkeypatch.setattr(incoming.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(StorageFull) as error:
        Files(settings).put(io.BytesIO(BYTES), most=10**6)
    assert "/" not in str(error.value) and left(settings) == []


def test_a_disk_that_fills_while_writing_leaves_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(incoming.os, "fsync", full)
    with pytest.raises(StorageFull):
        Files(settings).put(io.BytesIO(BYTES), most=10**6)
    assert left(settings) == []


def test_names_that_are_no_hash_are_refused(settings: Settings) -> None:
    files = Files(settings)
    for name in ("../../etc/passwd", "a" * 63, "A" * 64, f"{SHA256}\n", ""):
        with pytest.raises(ValueError, match="sha256"):
            files.local(name)
    with pytest.raises(UnknownName, match="upload it again"):
        files.local("0" * 64)


def test_other_bytes_of_a_remote_store_are_noticed(tmp_path: Path) -> None:
    settings = read_settings(home=tmp_path / "home", store=f"file://{tmp_path}/remote")
    files = Files(settings)
    files.put(io.BytesIO(BYTES), most=10**6)
    (tmp_path / "remote" / SHA256[:2] / SHA256).write_bytes(b"others")
    with pytest.raises(RadproofError, match="other bytes"):
        files.local(SHA256)
    assert left(settings) == []


def test_a_store_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="fsspec"):
        Files(read_settings(home=tmp_path, store="nowhere://secret@host/path"))


def test_quotas_count_what_is_kept_and_what_is_still_coming(tmp_path: Path) -> None:
    files = Files(read_settings(home=tmp_path / "home", quota_megabytes=1))
    with (
        files.incoming(most=10**7, project="a", used=400_000) as one,
        files.incoming(most=10**7, project="a", used=400_000) as two,
        files.incoming(most=10**7, project="b") as other,
    ):
        one.write(b"x" * 500_000)
        other.write(b"x" * 900_000)
        with pytest.raises(TooLarge, match=r"keeps 0\.40 MB already"):
            two.write(b"x" * 200_000)
    with files.incoming(most=10**7, project="a", used=400_000) as again:
        again.write(b"x" * 600_000)


def rows(database: Database, *sizes: int) -> tuple[str, list[str]]:
    """A project with files of one content."""
    with database.writing() as session:
        project = Project(id=new_id("prj"), name=new_id("prj"))
        session.add(project)
        session.flush()
        made = [File(id=new_id("fil"), project_id=project.id, sha256=SHA256, size=size) for size in sizes]
        session.add_all(made)
        return project.id, [one.id for one in made]


def test_bytes_go_with_the_last_row_that_names_them(settings: Settings) -> None:
    files, database = Files(settings), Database(settings.database_url)
    database.migrate()
    files.put(io.BytesIO(BYTES), most=10**6)
    _, names = rows(database, 5, 5)
    for number, name in enumerate(names, 1):
        with database.writing() as session:
            file = session.get(File, name)
            assert file is not None
            files.forget(session, file)
            assert files.has(SHA256)
        assert files.has(SHA256) == (number < 2)
    database.close()


def test_a_removal_that_is_taken_back_keeps_the_bytes(tmp_path: Path) -> None:
    settings = read_settings(home=tmp_path / "home")
    files, database = Files(settings), Database(settings.database_url)
    database.migrate()
    files.put(io.BytesIO(BYTES), most=10**6)
    _, (name,) = rows(database, 5)
    with pytest.raises(RuntimeError, match="back"), database.writing() as session:
        file = session.get(File, name)
        assert file is not None
        files.forget(session, file)
        raise RuntimeError("back")
    assert files.has(SHA256)
    database.close()


def test_what_a_project_uses_is_files_and_imported_data(tmp_path: Path) -> None:
    settings = read_settings(home=tmp_path / "home")
    files, database = Files(settings), Database(settings.database_url)
    database.migrate()
    project, _ = rows(database, 5, 6)
    rows(database, 100)
    with database.writing() as session:
        session.add(DataSet(id=new_id("dat"), project_id=project, name="a", facts={"bytes": 5_000_000_000}))
        session.add(DataSet(id=new_id("dat"), project_id=project, name="b"))
    with database.reading() as session:
        assert files.used(session, project) == 5_000_000_011
    database.close()


def test_what_a_killed_server_left_is_swept_a_day_later(tmp_path: Path) -> None:
    settings = read_settings(home=tmp_path / "home")
    folder = settings.folder("uploads")
    folder.mkdir(parents=True)
    for name, age in (("old", 2 * incoming.DAY), ("new", 60.0)):
        (folder / name).write_bytes(b"half")
        moment = (folder / name).stat().st_mtime - age
        os.utime(folder / name, (moment, moment))
    (folder / "gone").mkdir()
    with Files(settings).incoming(most=10) as one:
        assert isinstance(one, Incoming)
    assert sorted(path.name for path in folder.iterdir()) == ["gone", "new"]


def test_a_file_kept_twice_at_once_is_one(settings: Settings) -> None:
    files = Files(settings)
    with files.incoming(most=10**6) as one, files.incoming(most=10**6) as two:
        found: list[Staged] = []
        for each in (one, two):
            each.write(BYTES)
            found.append(each.finish())
        for staged in found:
            files.keep(staged)
        files.keep(found[0])
    assert files.local(SHA256).read_bytes() == BYTES


def test_a_row_that_says_absurd_sizes_makes_no_sum_that_overflows_or_frees_the_quota(tmp_path: Path) -> None:
    with migrated(tmp_path / "home") as database:
        files = Files(read_settings(home=tmp_path / "home", database=database.url))
        with database.writing() as session:
            project = Project(id=new_id("prj"), name="ours")
            session.add(project)
            session.flush()
            for size in (10**18, 10**25, 2**63 - 1, -(10**18), 7):
                session.add(DataSet(id=new_id("dat"), project_id=project.id, name="d", facts={"bytes": size}))
        with database.reading() as session:
            assert files.used(session, project.id) == 3 * 10**15 + 7
