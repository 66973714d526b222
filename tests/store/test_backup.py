# SPDX-License-Identifier: Apache-2.0
"""A backup and a new home of it, where uploads lie elsewhere than in the home."""

import hashlib
import os
import sys
import uuid
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import fsspec
import pytest
from sqlalchemy import select

from radproof.cli import main
from radproof.errors import BadInput, RadproofError
from radproof.store import backup as backing
from radproof.store.backup import backup, restore
from radproof.store.database import Database
from radproof.store.files import Files
from radproof.store.ids import new_id
from radproof.store.settings import Settings, read_settings
from radproof.store.tables import Event, File, Project

UPLOADS = (b"one" * 1000, b"two" * 1000)
NAMES = [hashlib.sha256(one).hexdigest() for one in UPLOADS]


@pytest.fixture(params=["", "file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where uploads are: in the home, in a folder that is taken for remote, in one that is no folder."""
    yield {"": "", "file": f"file://{tmp_path}/remote", "memory": f"memory://{uuid.uuid4().hex}"}[request.param]
    fsspec.filesystem("memory").store.clear()


def furnished(home: Path, store: str) -> Settings:
    """A server's home with two uploads, one of them of two rows, and a model's folder."""
    settings = read_settings(home=home, store=store)
    settings.secret()
    database, files = Database(settings.database_url), Files(settings)
    database.migrate()
    with database.writing() as session:
        project = Project(id=new_id("prj"), name="ours")
        session.add(project)
        session.flush()
        for data in (*UPLOADS, UPLOADS[0]):
            sha256 = files.put(BytesIO(data), most=10**6)
            session.add(File(id=new_id("fil"), project_id=project.id, sha256=sha256, size=len(data)))
    database.close()
    (settings.folder("models", "mdl_1")).mkdir(parents=True)
    (settings.folder("models", "mdl_1") / "card.yaml").write_text("x")
    return settings


def test_backup_holds_the_uploads_wherever_they_lie_and_comes_back_anywhere(tmp_path: Path, store: str) -> None:
    settings = furnished(tmp_path / "home", store)
    done = backup(settings, tmp_path / "backup")
    assert (done.files, done.missing) == (3, 0)
    assert [(tmp_path / "backup/blobs" / name[:2] / name).read_bytes() for name in NAMES] == list(UPLOADS)
    assert not settings.folder("cache").exists()
    for number, elsewhere in enumerate(("", f"file://{tmp_path}/second")):
        new = read_settings(home=tmp_path / f"new{number}", store=elsewhere)
        back = restore(new, tmp_path / "backup")
        assert (back.databases, back.files, back.missing, back.told) == (done.databases, 3, 0, True)
        assert [Files(new).local(name).read_bytes() for name in NAMES] == list(UPLOADS)
        assert new.secret() == settings.secret() and (new.home / "models/mdl_1/card.yaml").read_text() == "x"
        assert new.folder("blobs").exists() == (not elsewhere) and new.home.stat().st_mode & 0o077 == 0
        database = Database(new.database_url)
        with database.reading() as session:
            assert session.execute(select(Event.action)).scalars().all() == ["server.backup", "server.restore"]
        database.close()


def test_what_the_store_lost_or_changed_is_counted_and_the_rest_is_copied(tmp_path: Path) -> None:
    settings = furnished(tmp_path / "home", f"file://{tmp_path}/remote")
    (tmp_path / "remote" / NAMES[0][:2] / NAMES[0]).write_bytes(b"others")
    done = backup(settings, tmp_path / "backup")
    assert (done.files, done.missing) == (2, 1)
    held = [path.name for path in (tmp_path / "backup/blobs").rglob("*") if path.is_file()]
    assert held == [NAMES[1]]
    (tmp_path / "backup/blobs" / NAMES[1][:2] / NAMES[1]).write_bytes(b"others")
    (tmp_path / "backup/blobs/notes").write_bytes(b"x")
    back = restore(read_settings(home=tmp_path / "new"), tmp_path / "backup")
    assert (back.files, back.missing) == (1, 2) and not Files(read_settings(home=tmp_path / "new")).has(NAMES[1])


def test_a_store_that_is_away_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = furnished(tmp_path / "home", f"file://{tmp_path}/remote")

    def away(*_: object) -> None:
        raise ConnectionError("secret@host")

    monkeypatch.setattr(backing.Files, "fetch", away)
    with pytest.raises(RadproofError, match=r"cannot be read \(ConnectionError\)"):
        backup(settings, tmp_path / "backup")


def test_nothing_is_restored_over_something_or_of_nothing(tmp_path: Path) -> None:
    settings = furnished(tmp_path / "home", "")
    backup(settings, tmp_path / "backup")
    with pytest.raises(BadInput, match="holds something already"):
        restore(settings, tmp_path / "backup")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="admin backup"):
        restore(read_settings(home=tmp_path / "new"), tmp_path / "empty")
    with pytest.raises(BadInput, match="pg_restore"):
        restore(read_settings(home=tmp_path / "new", database="postgresql://a/b"), tmp_path / "backup")
    assert not (tmp_path / "new").exists()


def test_the_commands_say_what_they_did_and_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = tmp_path / "remote"
    furnished(tmp_path / "home", f"file://{remote}")
    (remote / NAMES[0][:2] / NAMES[0]).unlink()
    monkeypatch.setenv("RADPROOF_STORE", f"file://{remote}")
    for told in (["backup", str(tmp_path / "out"), "--home", str(tmp_path / "home")],
                 ["restore", str(tmp_path / "out"), "--home", str(tmp_path / "new")]):  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["radproof", "admin", *told])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        assert not caught.value.code and "databases and 2 files" in said.out
        assert ("than they should: 1." in said.err) == (told[0] == "backup")


def test_what_a_backup_s_links_lead_to_is_not_taken_in_and_the_copy_is_its_own(tmp_path: Path) -> None:
    settings, out = furnished(tmp_path / "home", ""), tmp_path / "backup"
    backup(settings, out)
    outside = tmp_path / "outside"
    outside.write_bytes(UPLOADS[0])
    blob = out / "blobs" / NAMES[0][:2] / NAMES[0]
    blob.unlink()
    blob.symlink_to(outside)  # with the right bytes, even
    (out / "models/mdl_1/link").symlink_to(outside)
    os.mkfifo(out / "models/mdl_1/pipe")
    for path in [out / "secret", *out.rglob("*")]:
        path.chmod(0o777) if not path.is_symlink() else None
    new = read_settings(home=tmp_path / "new")
    back = restore(new, out)
    assert (back.files, back.missing) == (2, 1)
    assert [path.name for path in (new.home / "models/mdl_1").iterdir()] == ["card.yaml"]
    made = list(new.home.rglob("*"))
    assert not any(path.is_symlink() for path in made)
    assert all(path.stat().st_mode & 0o077 == 0 for path in made if path.name[-4:] not in ("-wal", "-shm"))
    kept = Files(new).local(NAMES[1])
    assert kept.stat().st_nlink == 1 and not kept.samefile(out / "blobs" / NAMES[1][:2] / NAMES[1])
    assert list(new.folder("uploads").iterdir()) == []


@pytest.mark.parametrize("name", ["secret", "jobs.db", "radproof.db", "blobs", "models", "runs"])
def test_a_backup_with_a_link_in_a_database_s_or_folder_s_place_is_refused(tmp_path: Path, name: str) -> None:
    out = tmp_path / "backup"
    out.mkdir()
    (out / "radproof.db").write_bytes(b"")
    (out / name).unlink(missing_ok=True)
    (out / name).symlink_to(tmp_path)
    with pytest.raises(BadInput, match=f"{name} is a link"):
        restore(read_settings(home=tmp_path / "new"), out)
    assert not (tmp_path / "new").exists()
