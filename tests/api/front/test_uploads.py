# SPDX-License-Identifier: Apache-2.0
"""Forms with files: FIELD 5.1's multipart tricks, wrong kinds, quotas, and that nothing of a refused form is left."""

import asyncio
import io
import logging
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from sqlalchemy import select
from tests.api.conftest import House, Person, made_app
from tests.api.test_routes import _path, _routes  # pyright: ignore[reportPrivateUsage]

from radproof.api.front.uploads import Shelf, received
from radproof.api.http.problems import Problem
from radproof.api.http.wanted import DATA, ROUTES, SCREENING
from radproof.store import incoming
from radproof.store.settings import MEGABYTE
from radproof.store.tables import DataSet, Event, File, Job, Model

B = "radproofboundary"


def zipped(**files: bytes) -> bytes:
    """An archive's bytes."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return held.getvalue()


ZIP = zipped(a=b"1")


def part(name: str, data: bytes | str, filename: str | None = None) -> bytes:
    """One part of a form."""
    more = "" if filename is None else f'; filename="{filename}"'
    head = f'--{B}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + (data.encode() if isinstance(data, str) else data) + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole one."""
    return b"".join(parts) + f"--{B}--\r\n".encode()


def send(who: Person, body: Any, path: str = "/api/v1/data", **headers: str) -> httpx.Response:
    told = {"Content-Type": f"multipart/form-data; boundary={B}", **headers}
    return who.client.post(path, content=body, headers=told)  # pyright: ignore[reportReturnType]


def nothing_left(house: House) -> None:
    home = house.service.settings.home
    assert [p for kind in ("uploads", "blobs", "data", "models") for p in (home / kind).rglob("*") if p.is_file()] == []
    with house.service.database.reading() as session:
        for kind in (File, DataSet, Model, Job):
            assert session.execute(select(kind)).scalars().all() == []


def test_a_form_becomes_a_data_set_and_its_file_name_is_nowhere(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    who = house.person()
    answer = send(who, form(part("name", "Chest"), part("file", ZIP, "Smith^John.zip")))
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["name"], made["state"], made["job"]["kind"], made["error"]) == ("Chest", "importing", "data", "")
    assert answer.headers["location"] == f"/api/v1/data/{made['id']}"
    with house.service.database.reading() as session:
        file = session.execute(select(File)).scalar_one()
        assert house.service.files.local(file.sha256).read_bytes() == ZIP and file.suffix == ".zip"
        assert session.execute(select(Event.action)).scalars().all()[-1] == "data.upload"
    assert list((house.service.settings.home / "uploads").iterdir()) == []
    assert "Smith" not in caplog.text + answer.text
    for found in house.service.settings.home.rglob("*"):
        assert "Smith" not in found.name
        if found.is_file():
            assert b"Smith" not in found.read_bytes()


def test_traversal_in_file_names_leads_nowhere(house: House, tmp_path: Path) -> None:
    who = house.person()
    for name in ("../../../etc/passwd", "..\\..\\evil", "/etc/passwd", "a\\0b", "%2e%2e%2fevil"):
        answer = send(who, form(part("file", ZIP, name)))
        assert answer.status_code == 201
        assert [path.name for path in tmp_path.iterdir()] == ["home"]
        assert "evil" not in answer.text and "passwd" not in answer.text


def test_multipart_of_thousands_of_parts_is_refused(house: House) -> None:
    many = b"".join(part(f"n{n}", "x") for n in range(5000))
    assert send(house.person(), form(many)).status_code == 422
    same = part("name", "x") * 5000
    assert send(house.person(), form(same)).status_code == 422
    nothing_left(house)


def test_multipart_without_a_boundary_is_refused(house: House) -> None:
    who = house.person()
    for kind in ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 300):
        answer = send(who, form(part("file", ZIP)), **{"Content-Type": kind})
        assert answer.status_code == 400, kind
    assert send(who, b"{}", **{"Content-Type": "application/json"}).status_code == 415
    nothing_left(house)


BROKEN = [
    b"",
    b"no form at all",
    f"--{B}\r\n".encode(),
    part("file", ZIP),
    form(part("file", ZIP))[:-4],
    b"--other--\r\n",
    f"--{B}\r\nno header\r\n\r\nx\r\n--{B}--\r\n".encode(),
    f"--{B}\r\n\r\nx\r\n--{B}--\r\n".encode(),
    f'--{B}\r\nContent-Disposition: form-data; name="{"n" * 100_000}"\r\n\r\nx\r\n--{B}--\r\n'.encode(),
    f"--{B}\r\n{'X' * 100_000}: y\r\n\r\nx\r\n--{B}--\r\n".encode(),
    (f"--{B}\r\n" + "A: b\r\n" * 5000 + f"\r\nx\r\n--{B}--\r\n").encode(),
    form(part("name", "\udcff".encode("utf-8", "surrogateescape")), part("file", ZIP)),
]


def test_forms_that_are_broken_and_huge_field_names_are_refused(house: House) -> None:
    who = house.person()
    for number, body in enumerate(BROKEN):
        answer = send(who, body)
        assert answer.status_code in (400, 422), (number, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    nothing_left(house)


def test_huge_fields_and_unknown_parts_are_refused(house: House) -> None:
    who = house.person()
    assert "longer than 120" in send(who, form(part("name", "x" * 100_000), part("file", ZIP))).text
    assert "not known here" in send(who, form(part("url", "http://169.254.169.254/"), part("file", ZIP))).text
    assert "two parts file" in send(who, form(part("file", ZIP), part("file", ZIP))).text
    assert "has no file" in send(who, form(part("name", "x"))).text
    for name in ("\x1b[31m", "a\nb", "a\u202eb"):
        assert send(who, form(part("name", name), part("file", ZIP))).status_code == 422
    nothing_left(house)


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'


KINDS = [
    SVG, b"<html>", b"\xef\xbb\xbf <svg/>", b"MZ\x90", b"\x7fELF", b"#!/bin/sh", b"\x1f\x8b\x08", b"Rar!", b"",
    b"%PDF", b"\x80\x04cos\nsystem", b"PK\x05\x06" + b"\0" * 18, b"plain words",
]  # fmt: skip


@pytest.mark.parametrize("path", ["/api/v1/data", "/api/v1/models"])
def test_svg_html_programs_and_other_archives_are_refused_by_their_bytes(house: House, path: str) -> None:
    who = house.person()
    for data in KINDS:
        answer = send(who, form(part("file", data, "images.zip")), path)
        assert answer.status_code == 415 and "expected" in answer.json()["detail"], data
    nothing_left(house)


def test_large_kinds_are_refused_before_all_of_it_came(house: House) -> None:
    """Bytes that begin wrongly end the request at once, whatever is still to come."""
    given = 0

    def body() -> Any:
        nonlocal given
        yield part("file", SVG)[:-2]
        for _ in range(200):
            given += 1
            yield b"x" * 65_536

    assert send(house.person(), body()).status_code == 415
    nothing_left(house)


def small(house: House, **settings: Any) -> None:
    """Other limits for this server."""
    object.__setattr__(house.service, "settings", house.service.settings.model_copy(update=settings))
    object.__setattr__(house.service.files, "settings", house.service.settings)


def test_more_than_one_file_may_hold_is_refused_whatever_the_length_says(house: House) -> None:
    small(house, upload_megabytes=1)
    who = house.person()
    large = form(part("file", ZIP + b"x" * 1_100_000))
    assert send(who, large).status_code == 413

    def chunks() -> Any:
        for at in range(0, len(large), 50_000):
            yield large[at : at + 50_000]

    assert send(who, chunks()).status_code == 413  # without a Content-Length
    told = send(who, form(part("file", ZIP)), **{"Content-Length": str(10**12)})
    assert told.status_code == 413  # a lying one ends it before any byte
    nothing_left(house)


def test_a_project_s_quota_names_what_is_used(house: House) -> None:
    small(house, quota_megabytes=1)
    who = house.person()
    assert send(who, form(part("file", ZIP + b"x" * 600_000))).status_code == 201
    answer = send(who, form(part("file", ZIP + b"y" * 600_000)))
    assert answer.status_code == 413 and "0.60 MB already" in answer.json()["detail"]
    assert send(house.person(project="other"), form(part("file", ZIP + b"y" * 600_000))).status_code == 201


def test_quota_races_let_nothing_past(house: House) -> None:
    small(house, quota_megabytes=1)
    who = house.person()

    def one(number: int) -> int:
        return send(who, form(part("file", ZIP + bytes([number]) * 300_000))).status_code

    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(one, range(6)))
    assert set(codes) <= {201, 413} and 1 <= codes.count(201) <= 3
    with house.service.database.reading() as session:
        assert house.service.files.used(session, who.project) <= MEGABYTE


def test_a_full_disk_is_507_and_leaves_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 10

    monkeypatch.setattr(incoming.shutil, "disk_usage", lambda _: Usage)
    answer = send(house.person(), form(part("file", ZIP)))
    assert answer.status_code == 507 and str(house.service.settings.home) not in answer.text
    nothing_left(house)


def test_a_client_that_hangs_up_leaves_nothing(house: House) -> None:
    """The connection is gone after half the form."""
    first = form(part("file", ZIP + b"x" * 10**6))[:-500_000]
    with pytest.raises(Problem) as error:
        asyncio.run(taken(house, [first, None]))
    assert error.value.status == 400
    nothing_left(house)


async def taken(house: House, pieces: list[Any]) -> None:
    """A form that comes so: None hangs up."""
    from radproof.api.people.access import Caller

    person = house.person()
    who = Caller(person.id, "x", "developer", (person.project,), person.project)
    waiting = list(pieces)

    async def receive() -> dict[str, Any]:
        one = waiting.pop(0)
        if one is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": one, "more_body": True}

    scope = {
        "type": "http", "method": "POST", "path": "/", "query_string": b"",
        "headers": [(b"content-type", f"multipart/form-data; boundary={B}".encode())],
    }  # fmt: skip
    async with received(Request(scope, receive), DATA, Shelf(house.service, who)):
        raise AssertionError("it is not whole")


def test_csrf_of_a_form_is_told_by_header_or_first_part(house: House) -> None:
    who = house.person()
    del who.client.headers["X-CSRF-Token"]
    token = part("csrf_token", who.csrf)
    assert send(who, form(token, part("file", ZIP))).status_code == 201
    assert send(who, form(part("file", ZIP), token)).status_code == 403
    assert send(who, form(part("csrf_token", "wrong"), part("file", ZIP))).status_code == 403
    assert send(who, form(part("csrf_token", ""), part("file", ZIP))).status_code == 403
    assert send(who, form(part("file", ZIP))).status_code == 403


def test_roles_and_projects_are_checked_before_any_byte_is_kept(house: House) -> None:
    for role in ("viewer", "clinician"):
        for path in ("/api/v1/data", "/api/v1/models"):
            assert send(house.person(role), form(part("file", ZIP)), path).status_code == 403
    stranger = house.person(project="other")
    assert send(house.person(), form(part("project", stranger.project), part("file", ZIP))).status_code == 404
    assert send(house.person(), form(part("file", ZIP), part("project", stranger.project))).status_code == 422
    assert TestClient(made_app(house.service), base_url="http://localhost").post("/api/v1/data").status_code == 401
    nothing_left(house)


def test_an_idempotency_key_makes_one_thing(house: House) -> None:
    who = house.person()
    first, second = (send(who, form(part("file", ZIP)), **{"Idempotency-Key": "k"}) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]
    assert send(who, form(part("file", zipped(b=b"2"))), **{"Idempotency-Key": "k"}).status_code == 422


def test_a_file_that_was_not_chosen_is_none(house: House) -> None:
    answer = send(house.person(), form(part("labels", b"", ""), part("file", ZIP, "x.zip")))
    assert answer.status_code == 201 and "labels" not in answer.json()["told"]


def test_no_address_is_fetched(house: House) -> None:
    """There is no import by URL."""
    for path in ("/api/v1/models", "/api/v1/data"):
        answer = house.person().client.post(path, json={"url": "http://169.254.169.254/latest/meta-data"})
        assert answer.status_code == 415


def test_the_table_of_forms_with_files_is_that_of_the_routes(house: House) -> None:
    """Those whose route takes a form apart, and no other path takes more than a small body."""
    app: Any = house.person().client.app
    table = part("file", b"a,b\n" * 300_000)
    house.service.limits._rates.update(write=10**6, screen=10**6)  # pyright: ignore[reportPrivateUsage]
    told = {found for method, found in _routes(app) if method == "POST"}
    assert set(ROUTES) <= told and {"/screen", "/api/v1/screening"} == SCREENING
    who = house.person()
    large = {path for path in told if send(who, form(table), _path(path)).status_code != 413}
    assert large == set(ROUTES)


def test_a_retry_takes_a_table_as_large_as_the_first_time(house: House) -> None:
    answer = send(house.person(), form(part("labels", "a,b\n" * 300_000)), "/data/dat_00000000000000000000000000/retry")
    assert answer.status_code == 404
