# SPDX-License-Identifier: Apache-2.0
"""One process that serves: what it says, what it refuses, how slow callers are dropped, and that it ends in order."""

import io
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from radproof.api.http import connection
from radproof.api.observing import logs
from radproof.api.serving.server import (  # pyright: ignore
    Server,
    _config,
    _warn,
    listening,
    opened,
    site,
    worker_command,
    worker_environment,
)
from radproof.cli import main
from radproof.errors import BadInput
from radproof.store.database import Database
from radproof.store.people import server_address
from radproof.store.settings import read_settings
from radproof.store.tables import Event


def command(home: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "radproof", "serve", "--home", str(home), "--port", "0", *more]


def lines_until(process: "subprocess.Popen[str]", wanted: str) -> list[str]:
    """Lines of stderr up to one that holds a text; the process's time-out is the test's."""
    found: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        found.append(line)
        if wanted in line:
            return found
    raise AssertionError(f"no {wanted!r} in {''.join(found)}")


@pytest.fixture
def quiet_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("RADPROOF_")}


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"database": "postgresql://db.example/radproof"}, "RADPROOF_DATABASE"),
        ({"store": "/srv/store"}, "RADPROOF_STORE"),
        ({"worker_name": "beside"}, "RADPROOF_WORKER_NAME"),
    ],
)
def test_settings_of_the_command_line_reach_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], name: str
) -> None:
    monkeypatch.delenv(name, raising=False)
    assert worker_environment(read_settings(home=tmp_path, **told))[name] == next(iter(told.values()))


@pytest.mark.parametrize(
    ("host", "shown"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("192.0.2.7", "192.0.2.7")],
)
def test_the_address_it_says_is_one_that_a_browser_can_open(tmp_path: Path, host: str, shown: str) -> None:
    settings = read_settings(home=tmp_path, host=host, port=0)
    assert server_address(settings, 8123) == f"http://{shown}:8123"


def test_it_serves_prints_one_link_and_ends_in_order(tmp_path: Path, quiet_environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        command(tmp_path / "home", "--no-worker"), stderr=subprocess.PIPE, text=True, env=quiet_environment
    )
    try:
        said = "".join(lines_until(process, "server.started"))
        address = re.findall(r"listens on (http://127\.0\.0\.1:\d+)", said)[0]
        links = re.findall(r"http://127\.0\.0\.1:\d+/invite/[A-Za-z0-9_-]{43}", said)
        assert len(links) == 1 and links[0].startswith(address) and "password" not in said
        assert httpx.get(f"{address}/healthz").text == "alive\n"
        assert httpx.get(f"{address}/readyz").status_code == 503
        assert httpx.get(links[0]).status_code == 200
    finally:
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=30)[1]
    assert process.returncode == 0 and "server.stopped" in rest
    told = [json.loads(line) for line in rest.splitlines()]
    assert links[0].rsplit("/", 1)[1] not in rest and any(line.get("route") == "/invite/{secret}" for line in told)


def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["radproof", "serve", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_a_port_that_is_taken_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused(capsys, monkeypatch, "--home", str(tmp_path / "home"), "--port", port)
    assert f"port {port}" in said and "--port" in said


def test_beyond_loopback_it_does_not_listen_without_sign_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refused(capsys, monkeypatch, "--home", str(tmp_path), "--host", "0.0.0.0", "--no-auth")
    assert "without sign-in" in said


def test_a_home_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot write to"), opened(read_settings(home=tmp_path / "file" / "home")):
        raise AssertionError


def test_a_database_of_a_later_version_is_told(tmp_path: Path) -> None:
    with opened(read_settings(home=tmp_path)):
        pass
    with closing(sqlite3.connect(tmp_path / "radproof.db")) as database:
        database.execute("update alembic_version set version_num = '9999'")
        database.commit()
    with pytest.raises(BadInput, match="later version"), opened(read_settings(home=tmp_path)):
        raise AssertionError


def test_a_database_that_is_away_is_told_without_its_password(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    told = read_settings(home=tmp_path, database=f"postgresql://me:word-of-mine@127.0.0.1:{port}/x")
    with pytest.raises(BadInput, match=r"does not answer \(postgresql\S* on 127\.0\.0\.1") as caught, opened(told):
        raise AssertionError
    assert "word-of-mine" not in str(caught.value)


def test_the_worker_is_a_command_that_there_is() -> None:
    from typer.main import get_command

    from radproof.cli import app

    found = worker_command(read_settings(home=Path("home")))[3:]
    known = {name for one in get_command(app).commands[found[0]].params for name in one.opts}  # pyright: ignore
    assert {word for word in found if word.startswith("--")} <= known


@pytest.fixture
def running(tmp_path: Path) -> Iterator[int]:
    """A server in a thread; its port."""
    settings = read_settings(home=tmp_path, port=0, worker=False)
    with listening(settings) as bound, opened(settings) as service:
        server = Server(_config(site(service), settings), None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield bound.getsockname()[1]
        server.should_exit = True
        thread.join(30)


def closes(port: int, said: bytes) -> bytes:
    """What a caller gets who says this much and no more, until the connection closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as caller:
        caller.sendall(said)
        found = b""
        while piece := caller.recv(65536):
            found += piece
        return found


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: loc", b"GET /healthz HTTP/1.1\r\nX: "])
def test_a_head_that_dribbles_is_dropped(running: int, said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.2)
    assert closes(running, said) == b""


def test_a_second_head_that_dribbles_is_dropped_too(running: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.5)
    with socket.create_connection(("127.0.0.1", running), timeout=15) as caller:  # less than keep-alive's
        caller.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        found = b""
        while not found.endswith(b"alive\n"):
            found += caller.recv(65536)
        caller.sendall(b"GET /hea")
        assert caller.recv(65536) == b""


def test_a_head_beyond_the_limit_is_refused(running: int) -> None:
    said = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"
    try:
        answer = closes(running, said)
    except ConnectionResetError:
        return
    assert not answer or answer.startswith(b"HTTP/1.1 431 ")


def test_it_does_not_say_what_it_is_made_of(running: int) -> None:
    assert "server" not in httpx.get(f"http://127.0.0.1:{running}/healthz").headers


def test_a_backup_goes_on_where_the_trail_cannot_be_written_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, out = tmp_path / "home", tmp_path / "backup"
    with opened(read_settings(home=home)):
        pass
    with closing(sqlite3.connect(home / "radproof.db")) as database:
        database.execute("create trigger full before insert on events begin select raise(abort, 'full'); end")
        database.commit()
    monkeypatch.setattr(sys, "argv", ["radproof", "admin", "backup", str(out), "--home", str(home)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code and (out / "radproof.db").is_file()
    assert "does not tell of this backup" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("told", "warned"),
    [
        ({"public_url": "https://lab.example"}, 1),
        ({"public_url": "https://lab.example", "trusted_proxies": ("127.0.0.1",)}, 0),
        ({}, 0),
    ],
)
def test_a_proxy_that_is_not_trusted_is_warned_of(told: dict[str, Any], warned: int) -> None:
    stream = io.StringIO()
    logs.configure(stream, terminal=False)
    _warn(read_settings(**told))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["level"] for line in lines] == ["warning"] * warned
    assert all("trusted_proxies is empty" in line["says"] for line in lines)


def test_backup_while_others_write(tmp_path: Path) -> None:
    from radproof.store.backup import backup

    home, out = tmp_path / "home", tmp_path / "backup"
    settings = read_settings(home=home)
    with opened(settings) as service:
        (home / "models" / "mdl_1").mkdir(parents=True)
        (home / "models" / "mdl_1" / "card.yaml").write_text("x")
        (home / "models" / "mdl_1" / "link").symlink_to("/etc/passwd")
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                with service.database.writing() as session:
                    service.trail.add(session, "test.event")
                time.sleep(0.001)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            found = backup(settings, out)
        finally:
            stop.set()
            writer.join()
    assert found.databases >= 1 and found.files == 1
    assert (out / "secret").read_bytes() == (home / "secret").read_bytes() and out.stat().st_mode & 0o077 == 0
    assert not (out / "models" / "mdl_1" / "link").exists()
    restored = Database(f"sqlite:///{out / 'radproof.db'}")
    assert restored.ready() and found.told
    with restored.reading() as session:
        assert [one.detail for one in session.query(Event).filter_by(action="server.backup")] == [{"files": True}]
    restored.close()
    with pytest.raises(BadInput, match="holds something"):
        backup(settings, out)
    with pytest.raises(BadInput, match="within"):
        backup(settings, home / "backup")
    with pytest.raises(BadInput, match="pg_dump"):
        backup(read_settings(home=home, database="postgresql://a/b"), tmp_path / "other")
