# SPDX-License-Identifier: Apache-2.0
"""Lists page by page, tags, and requests that make one thing only."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from threading import Barrier

import pytest
from pydantic import BaseModel
from sqlalchemy import func, select, update
from starlette.requests import Request
from starlette.responses import Response
from tests.api.conftest import House

from radproof.api.front.idempotency import AT_WORK, KEPT, Once
from radproof.api.http.etags import conditional, etag, unchanged
from radproof.api.http.paging import paged, sealed, unsealed
from radproof.api.http.problems import Problem
from radproof.store.ids import new_id
from radproof.store.tables import File, Idempotency, now


class Told(BaseModel):
    """An answer."""

    id: str
    size: int = 0


def asked(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": raw})


def files(house: House, moments: list[int]) -> list[str]:
    who = house.person()
    begin = now()
    made = [(new_id("fil"), begin - timedelta(seconds=back)) for back in moments]
    with house.service.database.writing() as session:
        for name, created in made:
            session.add(File(id=name, sha256="0" * 64, size=1, project_id=who.project, created=created))
    return [name for name, _ in sorted(made, key=lambda one: (-one[1].timestamp(), one[0]))]


def everything(house: House, limit: int) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        with house.service.database.reading() as session:
            items, cursor = paged(session, select(File), File, cursor, limit)
        assert len(items) <= limit
        found += [one.id for one in items]
        if cursor is None:
            return found


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_give_everything_once_newest_first_also_within_one_moment(house: House, limit: int) -> None:
    expected = files(house, [5, 3, 3, 3, 9, 0])
    assert everything(house, limit) == expected


def test_what_comes_in_between_shifts_nothing(house: House) -> None:
    expected = files(house, [1, 2, 3, 4])
    with house.service.database.reading() as session:
        first, cursor = paged(session, select(File), File, None, 2)
    files(house, [0])
    with house.service.database.reading() as session:
        second, _ = paged(session, select(File), File, cursor, 2)
    assert [one.id for one in (*first, *second)] == expected


@pytest.mark.parametrize(
    "cursor",
    [
        "x", "..", "=", "é", "A" * 200, "A" * 5000, sealed("now fil_1"), sealed("2026-01-01T00:00:00 x"),
        sealed(f"2026-01-01T00:00:00+00:00 {'a' * 30}"), sealed(f"2026-01-01T00:00:00 fil_{'7' * 26}"),
        sealed(f"2026-01-01T00:00:00+01:00 fil_{'7' * 26}"), sealed("' or 1=1 --"), sealed("\0"), "AA==", "A B",
    ],
)  # fmt: skip
def test_a_broken_cursor_is_refused(house: House, cursor: str) -> None:
    with house.service.database.reading() as session, pytest.raises(Problem) as told:
        paged(session, select(File), File, cursor, 2)
    assert told.value.status == 422


def test_a_cursor_reads_back_as_itself() -> None:
    assert unsealed(sealed("a é 1")) == "a é 1"


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=1e9", "limit=-1", "cursor=" + "A" * 201])
def test_web_giant_page_size_is_refused(house: House, query: str) -> None:
    assert house.person().client.get(f"/api/v1/runs?{query}").status_code == 422


def test_an_answer_that_is_known_is_not_sent_again() -> None:
    tag = etag(Told(id="a"))
    first = conditional(asked(), Told(id="a"))
    assert (first.status_code, first.headers["etag"]) == (200, tag)
    for known in (tag, f"W/{tag}", "*", f'"other", {tag}'):
        again = conditional(asked(if_none_match=known), Told(id="a"))
        assert (again.status_code, again.body, again.headers["etag"]) == (304, b"", tag)
    for other in ('"other"', tag.strip('"'), '"'):
        assert conditional(asked(if_none_match=other), Told(id="a")).status_code == 200
    assert etag(Told(id="b")) != tag


def test_a_change_of_what_has_changed_is_refused() -> None:
    tag = etag(Told(id="a"))
    unchanged(asked(), Told(id="a"))
    unchanged(asked(if_match="*"), Told(id="a"))
    unchanged(asked(if_match=f'"x", {tag}'), Told(id="a"))
    for other in ('"x"', f"W/{tag}", "", "x"):
        with pytest.raises(Problem) as told:
            unchanged(asked(if_match=other), Told(id="a"))
        assert told.value.status == 412


def once(house: House, key: str | None = "k" * 64) -> Callable[..., Response]:
    return partial(Once(house.service, key).made, place="/api/v1/things")


def test_the_same_request_makes_one_thing_and_gives_the_same_answer(house: House) -> None:
    made: list[int] = []

    def work(_: object) -> Told:
        made.append(1)
        return Told(id=f"thing-{len(made)}")

    first = once(house)({"a": 1}, work)
    again = once(house)({"a": 1}, work)
    assert made == [1]
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.body == again.body
    assert first.headers["location"] == again.headers["location"] == "/api/v1/things/thing-1"
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"


def test_another_request_with_the_key_is_refused_and_another_key_makes_another(house: House) -> None:
    once(house)({"a": 1}, lambda _: Told(id="1"))
    with pytest.raises(Problem) as told:
        once(house)({"a": 2}, lambda _: Told(id="2"))
    assert told.value.status == 422
    assert b'"2"' in once(house, "l" * 64)({"a": 2}, lambda _: Told(id="2")).body


def test_what_failed_frees_the_key_and_leaves_nothing(house: House) -> None:
    def work(session) -> Told:
        session.add(File(id=new_id("fil"), sha256="0" * 64, size=1, project_id="none"))
        raise Problem(409, "no")

    with pytest.raises(Problem):
        once(house)({}, work)
    with house.service.database.reading() as session:
        assert session.execute(select(func.count()).select_from(Idempotency)).scalar_one() == 0
    assert once(house)({}, lambda _: Told(id="1")).status_code == 201


def test_web_race_a_double_submit_makes_one_thing_only(house: House) -> None:
    who, together, made = house.person(), Barrier(4), []

    def work(session) -> Told:
        name = new_id("fil")
        made.append(name)
        session.add(File(id=name, sha256="0" * 64, size=1, project_id=who.project))
        return Told(id=name)

    def submit(_: int) -> int:
        together.wait()
        try:
            return once(house)({}, work).status_code
        except Problem as problem:
            return problem.status

    with ThreadPoolExecutor(4) as pool:
        found = sorted(pool.map(submit, range(4)))
    assert len(made) == 1
    assert found[0] == 201
    assert set(found) <= {201, 409}
    with house.service.database.reading() as session:
        assert session.execute(select(func.count()).select_from(File)).scalar_one() == 1


def test_a_request_at_work_is_waited_for_until_it_must_have_died(house: House) -> None:
    once(house)({}, lambda _: Told(id="1"))
    with house.service.database.writing() as session:
        session.execute(update(Idempotency).values(status=None, body=""))
    with pytest.raises(Problem) as told:
        once(house)({}, lambda _: Told(id="2"))
    assert told.value.status == 409
    assert told.value.headers["Retry-After"]
    with house.service.database.writing() as session:
        session.execute(update(Idempotency).values(created=now() - AT_WORK - timedelta(seconds=1)))
    assert b'"2"' in once(house)({}, lambda _: Told(id="2")).body


def test_keys_are_forgotten_after_a_day(house: House) -> None:
    once(house)({}, lambda _: Told(id="1"))
    with house.service.database.writing() as session:
        session.execute(update(Idempotency).values(created=now() - KEPT - timedelta(seconds=1)))
    assert b'"2"' in once(house)({"other": 1}, lambda _: Told(id="2")).body


def test_without_a_key_every_request_is_a_new_one(house: House) -> None:
    for name in ("1", "2"):
        found = once(house, None)({}, lambda _, name=name: Told(id=name))
        assert name.encode() in found.body
