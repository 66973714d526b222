# SPDX-License-Identifier: Apache-2.0
"""Signing in and out, links that work once, and one's own account."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient
from tests.api.conftest import House, made_app, opened

from radproof.api.front.around import COOKIE
from radproof.api.http import limits
from radproof.api.http.problems import Problem
from radproof.api.people.signing import sign_in
from radproof.api.web.signing import own_path
from radproof.store import passwords
from radproof.store.people import add_user, first_admin_link
from radproof.store.tables import Event, Session, User

GOOD, BETTER = "a lung is not a cloud", "a cloud is not a lung"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hashes that cost little, and a clock that stands still for the limits."""
    monkeypatch.setattr(passwords, "_hasher", lambda: PasswordHasher(time_cost=1, memory_cost=128, parallelism=1))
    passwords._dummy.cache_clear()  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    yield
    passwords._dummy.cache_clear()  # pyright: ignore[reportPrivateUsage]


def _bare(house: House) -> TestClient:
    return TestClient(house.person("viewer").client.app, base_url="http://localhost", follow_redirects=False)


def _token(page: Any) -> str:
    return page.text.split('name="csrf_token" value="')[1].split('"')[0]


def _sign_up(house: House, client: TestClient, name: str = "ada", password: str = GOOD) -> str:
    """By the first administrator's link; the path of the link."""
    link = first_admin_link(house.service, "http://localhost")
    assert link is not None
    path = link.removeprefix("http://localhost")
    told = {"csrf_token": _token(client.get(path)), "name": name, "password": password, "again": password}
    assert client.post(path, data=told).status_code == 303
    return path


def _sign_in(client: TestClient, name: str = "ada", password: str = GOOD, next: str = "/", token: str = "") -> Any:
    told = {"csrf_token": token or _token(client.get("/login")), "name": name, "password": password, "next": next}
    return client.post("/login", data=told)


@pytest.fixture
def ada(house: House) -> TestClient:
    """A browser that signed up, and is signed out again."""
    client = _bare(house)
    _sign_up(house, client)
    client.cookies.clear()
    return client


def test_the_first_link_makes_an_administrator_once(house: House) -> None:
    client = _bare(house)
    path = _sign_up(house, client)
    assert client.get("/api/v1/account").json()["role"] == "admin"
    assert first_admin_link(house.service) is None
    assert client.get(path).status_code == 404
    assert _bare(house).get("/invite/" + "A" * 43).text == _bare(house).get(path).text  # used or unknown: the same


def test_a_new_first_link_replaces_the_old_one(house: House) -> None:
    first, second = first_admin_link(house.service), first_admin_link(house.service)
    assert first and second and first != second
    client = _bare(house)
    assert client.get(first.removeprefix("http://127.0.0.1:8000")).status_code == 404
    assert client.get(second.removeprefix("http://127.0.0.1:8000")).status_code == 200


def test_a_link_needs_a_good_password_and_survives_a_bad_one(house: House) -> None:
    client = _bare(house)
    path = str(first_admin_link(house.service, "http://localhost")).removeprefix("http://localhost")
    token = _token(client.get(path))
    for name, password, again in (("ada", "short", "short"), ("ada", GOOD, BETTER), ("../x", GOOD, GOOD)):
        told = {"csrf_token": token, "name": name, "password": password, "again": again}
        answer = client.post(path, data=told)
        assert answer.status_code == 422 and password not in answer.text
    assert client.post(path, data={"name": "ada", "password": GOOD, "again": GOOD}).status_code == 403
    assert client.post(path, data={**told, "name": "ada"}).status_code == 303


def test_sign_in_and_out(ada: TestClient) -> None:
    answer = _sign_in(ada, next="/runs?state=done")
    assert answer.status_code == 303 and answer.headers["location"] == "/runs?state=done"
    cookie = next(one for one in answer.headers.get_list("set-cookie") if one.startswith(COOKIE))
    assert "HttpOnly" in cookie and "samesite=lax" in cookie.lower()
    page = ada.get("/account")
    kept = ada.cookies[COOKIE]
    assert ada.post("/logout", data={"csrf_token": _token(page)}).status_code == 303
    ada.cookies.set(COOKIE, kept)
    assert ada.get("/api/v1/account").status_code == 401


def test_cookies_are_kept_to_tls_where_there_is(tmp_path: Path) -> None:
    with opened(tmp_path / "home", public_url="https://lab.example") as service:
        client = TestClient(made_app(service), base_url="https://lab.example", follow_redirects=False)
        answer = client.get("/login")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-radproof_visit=") and "Secure" in cookie and "Path=/" in cookie
    assert answer.headers["strict-transport-security"].startswith("max-age=")


def test_session_fixation_every_sign_in_makes_a_new_session(house: House, ada: TestClient) -> None:
    ada.cookies.set(COOKIE, "A" * 43, domain="localhost.local")  # planted by somebody else
    assert ada.get("/api/v1/account").status_code == 401
    _sign_in(ada)
    first = ada.cookies[COOKIE]
    assert first != "A" * 43
    token = _token(ada.get("/account"))
    _sign_in(ada, token=token)
    assert ada.cookies[COOKIE] != first
    with house.service.database.reading() as session:
        from radproof.store.sessions import found_session

        assert found_session(session, first) is None


def test_a_password_change_ends_every_session_and_begins_one(house: House, ada: TestClient) -> None:
    other = _bare(house)
    _sign_in(ada)
    _sign_in(other)
    before = ada.cookies[COOKIE]
    told = {"csrf_token": _token(ada.get("/account")), "current": "wrong", "new": BETTER, "again": BETTER}
    assert ada.post("/account/password", data=told).status_code == 403
    assert ada.post("/account/password", data={**told, "current": GOOD}).status_code == 303
    assert ada.cookies[COOKIE] != before and ada.get("/api/v1/account").status_code == 200
    assert other.get("/api/v1/account").status_code == 401
    ada.cookies.clear()
    assert _sign_in(ada).status_code == 401
    assert _sign_in(ada, password=BETTER).status_code == 303


def _make_keys(client: TestClient) -> list[dict[str, str]]:
    """Headers with two keys of the person who is signed in."""
    token = {"X-CSRF-Token": _token(client.get("/account"))}
    made = [client.post("/api/v1/account/keys", json={"name": "x"}, headers=token).json() for _ in range(2)]
    return [{"Authorization": f"Bearer {one['key']}"} for one in made]


def _opened(house: House, keys: list[dict[str, str]]) -> list[int]:
    return [_bare(house).get("/api/v1/account", headers=one).status_code for one in keys]


def _event(house: House, action: str) -> Event:
    with house.service.database.reading() as session:
        return session.query(Event).filter_by(action=action).order_by(Event.number.desc()).first() or Event()


def test_a_new_password_by_link_revokes_keys(house: House, ada: TestClient) -> None:
    root = house.person("admin")
    _sign_in(ada)
    keys = _make_keys(ada)
    assert _opened(house, keys) == [200, 200]
    person = ada.get("/api/v1/account").json()["id"]
    link = root.client.post(f"/api/v1/admin/people/{person}/reset").json()["link"]
    path = link.removeprefix("http://127.0.0.1:8000")
    ada.cookies.clear()
    page = ada.get(path)
    assert "API keys are revoked" in page.text
    told = {"csrf_token": _token(page), "password": BETTER, "again": BETTER}
    assert ada.post(path, data=told).status_code == 303
    assert _opened(house, keys) == [401, 401]
    assert _event(house, "invitation.use").detail == {"role": "admin", "keys": 2}


@pytest.mark.parametrize(("ticked", "opened"), [(True, [401, 401]), (False, [200, 200])])
def test_a_password_change_revokes_keys_where_it_is_ticked(
    house: House, ada: TestClient, ticked: bool, opened: list[int]
) -> None:
    _sign_in(ada)
    keys = _make_keys(ada)
    assert re.search(r'name="revoke_keys"[^>]* checked', ada.get("/account").text)
    told = {"csrf_token": _token(ada.get("/account")), "current": GOOD, "new": BETTER, "again": BETTER}
    if ticked:
        told["revoke_keys"] = "yes"
    wrong = ada.post("/account/password", data={**told, "current": "wrong"})
    assert bool(re.search(r'name="revoke_keys"[^>]* checked', wrong.text)) is ticked
    assert ada.post("/account/password", data=told).status_code == 303
    assert _opened(house, keys) == opened
    assert _event(house, "password.change").detail == {"keys": 2 if ticked else 0}


@pytest.mark.parametrize(("more", "opened"), [({}, [401, 401]), ({"revoke_keys": False}, [200, 200])])
def test_a_password_change_by_a_program_revokes_keys_unless_told(
    house: House, ada: TestClient, more: dict[str, bool], opened: list[int]
) -> None:
    _sign_in(ada)
    keys = _make_keys(ada)
    told = {"current": GOOD, "new": BETTER, **more}
    token = {"X-CSRF-Token": _token(ada.get("/account"))}
    assert ada.post("/api/v1/account/password", json=told, headers=token).status_code == 204
    assert _opened(house, keys) == opened


def test_a_password_is_hashed_anew_when_parameters_changed(house: House, ada: TestClient) -> None:
    with house.service.database.writing() as session:
        user = session.query(User).filter_by(name="ada").one()
        user.password = old = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(GOOD)
    assert _sign_in(ada).status_code == 303
    with house.service.database.reading() as session:
        found = session.query(User).filter_by(name="ada").one().password
        assert found is not None and found != old and "m=128" in found


def test_csrf_signing_in_needs_the_form_of_this_browser(house: House, ada: TestClient) -> None:
    theirs = _token(_bare(house).get("/login"))
    assert ada.post("/login", data={"name": "ada", "password": GOOD}).status_code == 403
    assert _sign_in(ada, token=theirs).status_code == 403
    ada.get("/login")
    assert _sign_in(ada, token=theirs).status_code == 403
    assert COOKIE not in ada.cookies


def test_brute_force_is_slowed_and_told_nothing(house: House, ada: TestClient) -> None:
    token = _token(ada.get("/login"))
    wrong_name = _sign_in(ada, "grace", GOOD, token=token)
    wrong_password = _sign_in(ada, "ada", BETTER, token=token)
    assert wrong_name.status_code == wrong_password.status_code == 401
    assert wrong_name.text.replace("grace", "ada") == wrong_password.text
    answers = [_sign_in(ada, "ada", BETTER, token=token) for _ in range(12)]
    assert answers[-1].status_code == 429 and int(answers[-1].headers["retry-after"]) >= 1
    assert _sign_in(ada, "ada", GOOD, token=token).status_code == 429


def test_brute_force_from_many_addresses_is_slowed_by_name(house: House) -> None:
    house.service.limits._rates.update({"sign-in": 1, "sign-in-name": 20})  # pyright: ignore[reportPrivateUsage]
    found: list[int] = []
    for one in range(22):
        try:
            sign_in(house.service, "Ada ", f"wrong password {one}", f"10.0.0.{one}")
        except Problem as problem:
            found.append(problem.status)
    assert found == [401] * 20 + [429] * 2


def test_guesses_from_elsewhere_do_not_keep_a_person_out(house: House, ada: TestClient) -> None:
    rates = house.service.limits._rates  # pyright: ignore[reportPrivateUsage]
    assert rates["sign-in-name"] == 20 * rates["sign-in"]
    for one in range(3):
        for _ in range(10):
            with pytest.raises(Problem, match="nobody is told which"):
                sign_in(house.service, "ada", BETTER, f"10.0.0.{one}")
        with pytest.raises(Problem, match="too many"):
            sign_in(house.service, "ada", BETTER, f"10.0.0.{one}")
    assert _sign_in(ada).status_code == 303


def test_refused_sign_ins_are_told_without_name_or_password(house: House, ada: TestClient) -> None:
    token = _token(ada.get("/login"))
    _sign_in(ada, "Doe^Jane", "her secret password", token=token)
    _sign_in(ada, "ada", "her secret password", token=token)
    with house.service.database.reading() as session:
        found = [one for one in session.query(Event).all() if one.action == "session.refused"]
        assert [one.actor for one in found] == ["", ""] and found[0].object == ""
        assert session.get_one(User, found[1].object).name == "ada"
        assert "jane" not in str([vars(one) for one in found]).lower() and "secret" not in str(vars(found[1]))
    assert house.service.trail.broken() is None


@pytest.mark.parametrize(
    "told",
    ["//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "https:evil.example",
     "evil.example",
     "/\t/evil.example", "/\n/evil.example", "javascript:alert(1)", "%2f%2fevil.example", " //evil.example", "/login",
     "/\u2028/evil", "///evil.example", "/ evil", "", "/" + "a" * 3000],
)  # fmt: skip
def test_open_redirect_only_own_paths(ada: TestClient, told: str) -> None:
    assert own_path(told) == "/"
    page = ada.get("/login", params={"next": told})
    assert 'name="next" value="/"' in page.text
    if told == "//evil.example":
        assert _sign_in(ada, next=told).headers["location"] == "/"
        assert ada.get("/login", params={"next": told}).headers["location"] == "/"


def test_own_paths_are_kept() -> None:
    for told in ("/runs/run_1?x=%2F%2Fevil&y=1", "/compare?a=1&b=2", "/"):
        assert own_path(told) == told


def test_sessions_are_listed_and_ended_one_by_one_and_together(house: House, ada: TestClient) -> None:
    others = [_bare(house) for _ in range(2)]
    for one in (ada, *others):
        _sign_in(one)
    headers = {"X-CSRF-Token": _token(ada.get("/account"))}
    found = ada.get("/api/v1/account/sessions").json()["items"]
    ended = [one for one in found if not one["this"]]
    assert len(ended) >= 2 and sum(one["this"] for one in found) == 1
    assert ada.delete("/api/v1/account/sessions/../../x", headers=headers).status_code in (404, 405)
    assert ada.delete(f"/api/v1/account/sessions/{ended[0]['id']}", headers=headers).status_code == 204
    assert ada.delete("/api/v1/account/sessions", headers=headers).status_code == 204
    assert [one.get("/api/v1/account").status_code for one in (ada, *others)] == [200, 401, 401]


def test_a_session_ends_by_itself(house: House) -> None:
    from datetime import timedelta

    from radproof.store.tables import now

    person = house.person()
    with house.service.database.writing() as session:
        for one in session.query(Session).filter_by(user_id=person.id):
            one.expires = now() - timedelta(seconds=1)
    assert person.client.get("/api/v1/account").status_code == 401


def test_a_key_is_shown_on_one_page_only(house: House) -> None:
    client = house.person().client
    page = client.post("/account/keys", data={"name": "<script>x</script>", "days": "30"})
    found = re.findall(r"rp_[A-Za-z0-9_-]{43}", page.text)
    assert len(found) == 1 and page.headers["cache-control"] == "no-store"
    again = client.get("/account").text
    assert found[0] not in again and "<script>x" not in again and "&lt;script&gt;x" in again


def test_the_project_of_a_browser_is_one_of_its_person_s(house: House) -> None:
    mine, theirs = house.person(), house.person(project="other")
    assert mine.client.patch("/api/v1/account", json={"project": theirs.project}).status_code == 404
    assert mine.client.patch("/api/v1/account", json={"project": mine.project}).json()["project"] == mine.project
    answer = mine.client.post("/account/project", data={"project": mine.project}, follow_redirects=False)
    assert answer.status_code == 303


def test_a_person_of_the_identity_provider_alone_has_no_password(house: House) -> None:
    with house.service.database.writing() as session:
        add_user(session, "ext", "viewer", subject="https://idp x")
    assert _sign_in(_bare(house), "ext", "").status_code == 401
