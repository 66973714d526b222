# SPDX-License-Identifier: Apache-2.0
"""Administration: what lower roles cannot do, and what the trail says of what was done."""

import re

import pytest
from fastapi.testclient import TestClient
from tests.api.conftest import House, Person
from tests.api.test_crossing import CHANGING, everything
from tests.store.fresh import unlocked

from radproof.api.people.access import Caller
from radproof.store.tables import Event

ADMIN = "/api/v1/admin"


@pytest.fixture
def root(house: House) -> Person:
    """An administrator who can sign in, so that they count."""
    from radproof.store.tables import User

    found = house.person("admin")
    with house.service.database.writing() as session:
        session.get_one(User, found.id).password = "not a hash"
    return found


def _last(house: House) -> Event:
    with house.service.database.reading() as session:
        return session.query(Event).order_by(Event.number.desc()).first() or Event()


@pytest.mark.parametrize("role", ["viewer", "clinician", "developer"])
def test_idor_lower_roles_cannot_administer(house: House, root: Person, role: str) -> None:
    who = house.person(role)
    before = root.client.get(f"{ADMIN}/people").json()
    for method, path, told in (
        ("GET", "/people", None),
        ("GET", f"/people/{root.id}", None),
        ("GET", "/people/invitations", None),
        ("POST", "/people/invitations", {"role": "admin"}),
        ("DELETE", f"/people/invitations/inv_{'0' * 26}", None),
        ("PATCH", f"/people/{who.id}", {"role": "admin"}),
        ("PATCH", f"/people/{root.id}", {"disabled": True}),
        ("POST", f"/people/{root.id}/reset", None),
        ("GET", "/projects", None),
        ("POST", "/projects", {"name": "mine"}),
        ("PATCH", f"/projects/{root.project}", {"name": "mine"}),
        ("PUT", f"/projects/{root.project}/members/{who.id}", None),
        ("DELETE", f"/projects/{root.project}/members/{root.id}", None),
        ("GET", "/trail", None),
        ("GET", "/trail/check", None),
        ("GET", "/settings", None),
    ):
        assert who.client.request(method, ADMIN + path, json=told).status_code == 403, (method, path)
    for path in ("", "/people", "/projects", "/trail"):
        assert who.client.get(f"/admin{path}").status_code == 403
    for path in ("people/invite", f"people/{who.id}/role", f"people/{root.id}/disable", f"people/{root.id}/reset",
                 "projects", f"projects/{root.project}/members", "trail/check"):  # fmt: skip
        told = {"role": "admin", "name": "x", "person": who.id}
        assert who.client.post(f"/admin/{path}", data=told).status_code == 403, path
    assert root.client.get(f"{ADMIN}/people").json() == before


def test_a_key_of_an_administrator_changes_nothing_of_people_and_projects(house: House, root: Person) -> None:
    """Whoever finds a key must not make themselves a way in that outlives it."""
    who, other = house.person("viewer"), house.person(project="other")
    link = root.client.post(f"{ADMIN}/people/invitations", json={"role": "viewer"})
    invitation = root.client.get(f"{ADMIN}/people/invitations").json()["items"][0]["id"]
    made = root.client.post("/api/v1/account/keys", json={"name": "x"}).json()["key"]
    before = [root.client.get(f"{ADMIN}/{one}").json() for one in ("people", "projects", "people/invitations", "trail")]
    key = TestClient(root.client.app, base_url="http://localhost", headers={"Authorization": f"Bearer {made}"})
    assert link.status_code == 201 and key.get(f"{ADMIN}/people").status_code == 200
    member = f"{other.project}/members/{root.id}"
    asked = {
        ("POST", "/people/invitations"): {"role": "admin"},
        ("DELETE", f"/people/invitations/{invitation}"): None,
        ("PATCH", f"/people/{who.id}"): {"role": "admin"},
        ("PATCH", f"/people/{who.id} "): {"disabled": True},
        ("POST", f"/people/{who.id}/reset"): None,
        ("POST", "/projects"): {"name": "mine"},
        ("PATCH", f"/projects/{root.project}"): {"name": "mine"},
        ("PUT", f"/projects/{member}"): None,
        ("DELETE", f"/projects/{root.project}/members/{root.id}"): None,
    }
    for (method, path), told in asked.items():
        assert key.request(method, ADMIN + path.strip(), json=told).status_code == 403, (method, path)
    templates = {
        (method, re.sub(r"\{[^}]+\}", "*", path).removeprefix(ADMIN))
        for path, methods in everything(root.client.app)
        if path.startswith(ADMIN)
        for method in methods & CHANGING
    }
    assert templates == {(method, re.sub(r"[a-z]{3}_\w{26}", "*", path.strip())) for method, path in asked}
    forms = {
        "people/invite": {"role": "admin"}, f"people/invitations/{invitation}/revoke": {},
        f"people/{who.id}/reset": {}, f"people/{who.id}/role": {"role": "admin"}, f"people/{who.id}/disable": {},
        f"people/{who.id}/enable": {}, "projects": {"name": "mine"},
        f"projects/{root.project}/rename": {"name": "mine"}, f"projects/{other.project}/members": {"person": root.id},
        f"projects/{root.project}/members/{root.id}/remove": {},
    }  # fmt: skip
    for path, form in forms.items():
        assert key.post(f"/admin/{path}", data=form, follow_redirects=False).status_code == 403, path
    pages = {
        re.sub(r"\{[^}]+\}", "*", path).removeprefix("/admin/")
        for path, methods in everything(root.client.app)
        if path.startswith("/admin/") and methods & CHANGING
    }
    assert pages == {re.sub(r"[a-z]{3}_\w{26}", "*", path) for path in forms} | {"trail/check"}
    after = [root.client.get(f"{ADMIN}/{one}").json() for one in ("people", "projects", "people/invitations", "trail")]
    assert after == before


def test_invitations_are_listed_and_revoked(house: House, root: Person) -> None:
    who = house.person("developer")
    paths = [
        root.client.post(f"{ADMIN}/{path}", json=told).json()["link"].removeprefix("http://127.0.0.1:8000")
        for path, told in (
            ("people/invitations", {"role": "clinician", "project": root.project}),
            (f"people/{who.id}/reset", None),
        )
    ]
    found = root.client.get(f"{ADMIN}/people/invitations").json()["items"]
    assert [(one["role"], one["person"], one["project"]) for one in found] == [
        ("developer", root.client.get(f"{ADMIN}/people/{who.id}").json()["name"], None), ("clinician", None, "ours")
    ]  # fmt: skip
    name = root.client.get(f"{ADMIN}/people/{root.id}").json()["name"]
    assert {one["made_by"] for one in found} == {name} and all(one["expires"] > one["created"] for one in found)
    page = root.client.get("/admin/people").text
    assert all(f"/admin/people/invitations/{one['id']}/revoke" in page for one in found)
    assert not [path for path in paths if path.rsplit("/", 1)[1] in page + str(found)]
    bare = TestClient(root.client.app, base_url="http://localhost")
    assert [bare.get(path).status_code for path in paths] == [200, 200]
    assert root.client.delete(f"{ADMIN}/people/invitations/{found[1]['id']}").status_code == 204
    assert (_last(house).action, _last(house).object) == ("invitation.revoke", found[1]["id"])
    answer = root.client.post(f"/admin/people/invitations/{found[0]['id']}/revoke", follow_redirects=False)
    assert answer.status_code == 303
    assert [bare.get(path).status_code for path in paths] == [404, 404]
    for one in (*found, {"id": "inv_x"}):
        assert root.client.delete(f"{ADMIN}/people/invitations/{one['id']}").status_code == 404
    assert root.client.get(f"{ADMIN}/people/invitations").json() == {"items": [], "next": None}
    first, second = (root.client.post(f"{ADMIN}/people/invitations", json={}) for _ in range(2))
    assert first.status_code == second.status_code == 201
    some = root.client.get(f"{ADMIN}/people/invitations?limit=1").json()
    rest = root.client.get(f"{ADMIN}/people/invitations?limit=1&cursor={some['next']}").json()
    assert len({one["id"] for one in some["items"] + rest["items"]}) == 2 and rest["next"] is None


@pytest.mark.parametrize("told", [{"disabled": True}, {"role": "developer"}])
def test_invitations_end_with_the_rights_of_their_maker(house: House, root: Person, told: dict[str, object]) -> None:
    maker, who = house.person("admin"), house.person("viewer")
    paths = [
        one.client.post(f"{ADMIN}/{path}", json={"role": "admin"}).json()["link"].removeprefix("http://127.0.0.1:8000")
        for one, path in (
            (maker, "people/invitations"),
            (maker, f"people/{who.id}/reset"),
            (root, "people/invitations"),
        )
    ]
    bare = TestClient(root.client.app, base_url="http://localhost")
    assert [bare.get(path).status_code for path in paths] == [200, 200, 200]
    assert root.client.patch(f"{ADMIN}/people/{maker.id}", json=told).status_code == 200
    assert [bare.get(path).status_code for path in paths] == [404, 404, 200]
    assert len(root.client.get(f"{ADMIN}/people/invitations").json()["items"]) == 1
    assert _last(house).detail["invitations"] == 2
    back = {"disabled": False} if "disabled" in told else {"role": "admin"}
    assert root.client.patch(f"{ADMIN}/people/{maker.id}", json=back).status_code == 200
    assert [bare.get(path).status_code for path in paths] == [404, 404, 200]


def test_idor_keys_and_browsers_of_others_are_not_found(house: House) -> None:
    mine, theirs = house.person(), house.person("admin")
    key = theirs.client.post("/api/v1/account/keys", json={"name": "x"}).json()["id"]
    browser = theirs.client.get("/api/v1/account/sessions").json()["items"][0]["id"]
    for path in (f"keys/{key}", f"sessions/{browser}", "keys/key_x", "keys/..%2f..%2fx", "sessions/%2e%2e"):
        assert mine.client.delete(f"/api/v1/account/{path}").status_code in (404, 405)
    assert mine.client.post(f"/account/keys/{key}/revoke").status_code == 404
    assert mine.client.post(f"/account/sessions/{browser}/end").status_code == 404
    assert len(theirs.client.get("/api/v1/account/keys").json()["items"]) == 1
    assert theirs.client.get("/api/v1/account").status_code == 200


def test_an_administrator_sees_nothing_of_a_project_that_is_not_theirs(house: House, root: Person) -> None:
    other = house.person(project="other")
    assert other.project not in [one["id"] for one in root.client.get("/api/v1/account").json()["projects"]]
    assert root.client.put(f"{ADMIN}/projects/{other.project}/members/{root.id}").status_code == 204
    found = _last(house)
    assert (found.action, found.actor, found.object, found.project_id) == (
        "project.join", root.id, root.id, other.project
    )  # fmt: skip
    assert other.project in [one["id"] for one in root.client.get("/api/v1/account").json()["projects"]]
    assert root.client.delete(f"{ADMIN}/projects/{other.project}/members/{root.id}").status_code == 204
    assert other.project not in [one["id"] for one in root.client.get("/api/v1/account").json()["projects"]]


def test_another_role_counts_at_once_and_ends_sessions(house: House, root: Person) -> None:
    who = house.person("developer")
    assert who.client.get("/api/v1/account").json()["role"] == "developer"
    key = who.client.post("/api/v1/account/keys", json={"name": "x"}).json()["key"]
    assert root.client.patch(f"{ADMIN}/people/{who.id}", json={"role": "viewer"}).json()["role"] == "viewer"
    assert who.client.get("/api/v1/account").status_code == 401
    told = {"Authorization": f"Bearer {key}"}
    assert who.client.get("/api/v1/account", headers=told).json()["role"] == "viewer"
    assert (_last(house).action, _last(house).detail) == ("user.role", {"before": "developer", "after": "viewer"})


def test_somebody_disabled_is_out_at_once_with_their_keys(house: House, root: Person) -> None:
    who = house.person("developer")
    told = {"Authorization": "Bearer " + who.client.post("/api/v1/account/keys", json={"name": "x"}).json()["key"]}
    assert root.client.patch(f"{ADMIN}/people/{who.id}", json={"disabled": True}).json()["disabled"]
    assert who.client.get("/api/v1/account").status_code == 401
    assert root.client.patch(f"{ADMIN}/people/{who.id}", json={"disabled": False}).status_code == 200
    assert who.client.get("/api/v1/account", headers=told).status_code == 401
    assert root.client.post(f"{ADMIN}/people/{who.id}/reset").status_code == 201


def test_the_last_administrator_stays(house: House, root: Person) -> None:
    for told in ({"role": "viewer"}, {"disabled": True}):
        assert root.client.patch(f"{ADMIN}/people/{root.id}", json=told).status_code == 409
    for path, data in (("role", {"role": "viewer"}), ("disable", {})):
        answer = root.client.post(f"/admin/people/{root.id}/{path}", data=data)
        assert answer.status_code == 409 and "last administrator" in answer.text
    assert root.client.get("/api/v1/account").json()["role"] == "admin"


def test_an_invitation_leads_into_its_project_with_its_role(house: House, root: Person) -> None:
    made = root.client.post(f"{ADMIN}/people/invitations", json={"role": "clinician", "project": root.project}).json()
    path = made["link"].removeprefix("http://127.0.0.1:8000")
    stranger = house.person("viewer").client
    stranger.cookies.clear()
    token = stranger.get(path).text.split('name="csrf_token" value="')[1].split('"')[0]
    stranger.headers["X-CSRF-Token"] = token
    told = {"name": "Grace", "password": "a lung is not a cloud", "again": "a lung is not a cloud"}
    assert stranger.post(path, data=told, follow_redirects=False).status_code == 303
    found = stranger.get("/api/v1/account").json()
    assert (found["name"], found["role"], found["project"]) == ("grace", "clinician", root.project)
    assert path.split("/")[-1] not in str(root.client.get(f"{ADMIN}/trail").json())


def test_projects_are_made_and_renamed_once_per_name(house: House, root: Person) -> None:
    made = root.client.post(f"{ADMIN}/projects", json={"name": "Thorax 2"}).json()
    assert [one["id"] for one in made["members"]] == [root.id]
    assert root.client.post(f"{ADMIN}/projects", json={"name": "Thorax 2"}).status_code == 409
    assert root.client.patch(f"{ADMIN}/projects/{made['id']}", json={"name": "ours"}).status_code == 409
    assert root.client.patch(f"{ADMIN}/projects/{made['id']}", json={"name": "Thorax 3"}).json()["name"] == "Thorax 3"
    assert root.client.post(f"{ADMIN}/projects", json={"name": "a\u202eb"}).status_code == 422


def test_a_change_of_what_has_changed_is_refused(root: Person) -> None:
    """Of a person, of a project, of the account: If-Match."""
    project = {"name": "renamed"}
    changes = [("/admin/people/" + root.id, {"role": "admin"}), ("/account", {"project": root.project})]
    for at, told in (*changes, (f"/admin/projects/{root.project}", project)):
        address = f"/api/v1{at}"
        assert root.client.patch(address, json=told, headers={"If-Match": '"old"'}).status_code == 412
        first = root.client.patch(address, json=told)
        tag = first.headers.get("etag") or root.client.get(address).headers["etag"]
        assert root.client.patch(address, json=told, headers={"If-Match": tag}).status_code == 200


@pytest.mark.parametrize("name", ["x", "../x", "usr_" + "0" * 26, "prj_" + "0" * 26, "%2e%2e%2f", "a'b", "💥"])
def test_traversal_in_ids_of_people_and_projects(root: Person, name: str) -> None:
    for method, path, told in (
        ("GET", f"/people/{name}", None),
        ("PATCH", f"/people/{name}", {"role": "viewer"}),
        ("POST", f"/people/{name}/reset", None),
        ("PATCH", f"/projects/{name}", {"name": "x"}),
        ("PUT", f"/projects/{name}/members/{root.id}", None),
        ("DELETE", f"/projects/{root.project}/members/{name}", None),
    ):
        assert root.client.request(method, ADMIN + path, json=told).status_code in (404, 405)


def test_lists_go_page_by_page_and_refuse_made_up_cursors(house: House, root: Person) -> None:
    for _ in range(4):
        house.person()
    for path in ("people", "projects"):
        seen, cursor = [], None
        while True:
            page = root.client.get(f"{ADMIN}/{path}", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
            seen += [one["name"] for one in page.json()["items"]]
            cursor = page.json()["next"]
            if cursor is None:
                break
        assert seen == sorted(set(seen)) and len(seen) >= 2
    for one in range(3):
        root.client.post(f"{ADMIN}/projects", json={"name": f"p{one}"})
    first = root.client.get(f"{ADMIN}/trail", params={"limit": 2}).json()
    second = root.client.get(f"{ADMIN}/trail", params={"limit": 2, "cursor": first["next"]}).json()
    assert [one["number"] for one in first["items"] + second["items"]] == [6, 5, 4, 3]
    for cursor in ("x", "LTE", "4pyT", "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA"):
        assert root.client.get(f"{ADMIN}/trail", params={"cursor": cursor}).status_code == 422
    assert root.client.get(f"{ADMIN}/people?limit=101").status_code == 422


def test_the_people_page_reads_names_and_says_where_it_ends(
    house: House, root: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its select of projects asks for no sizes and no members; more links than it shows are told."""
    from radproof.api.web import admin

    monkeypatch.setattr(house.service.files, "used_by", None)
    monkeypatch.setattr(admin, "LINKS", 2)
    for _ in range(3):
        page = root.client.get("/admin/people").text
        assert f'<option value="{root.project}">ours</option>' in page and "The newest" not in page
        root.client.post(f"{ADMIN}/people/invitations", json={"role": "viewer"})
    assert "The newest 2 are shown" in root.client.get("/admin/people").text


def test_a_broken_trail_is_told(house: House, root: Person) -> None:
    from sqlalchemy import text

    root.client.post(f"{ADMIN}/projects", json={"name": "p"})
    assert root.client.get(f"{ADMIN}/trail/check").json() == {"whole": True, "first_broken": None}
    assert "whole" in root.client.post("/admin/trail/check").text
    with house.service.database.engine.begin() as connection:
        unlocked(connection)
        connection.execute(text("update events set actor = 'usr_x' where number = 2"))
    assert root.client.get(f"{ADMIN}/trail/check").json() == {"whole": False, "first_broken": 2}
    assert "broken at event 2" in root.client.post("/admin/trail/check").text


def test_settings_are_shown_without_secrets(house: House, root: Person) -> None:
    found = root.client.get(f"{ADMIN}/settings").json()
    assert found["session_hours"] == 12 and found["oidc_client_secret"] == "not set" and found["home"] == "set"
    page = root.client.get("/admin").text
    assert str(house.service.settings.home) not in page and "session_hours" in page


def test_stored_xss_names_are_text_on_every_page(house: House, root: Person) -> None:
    root.client.post(f"{ADMIN}/projects", json={"name": "<img src=x onerror=alert(1)>"})
    for path in ("/admin/projects", "/admin/people", "/account", "/admin/trail"):
        assert "<img src=x" not in root.client.get(path).text


def test_a_caller_is_a_key_a_browser_or_whoever_sits_here() -> None:
    key, browser, local = (
        Caller("u", "n", "admin", (), None, *told) for told in ((None, ""), ("hash", "token"), (None, "token"))
    )
    assert [(who.by_key, who.local) for who in (key, browser, local)] == [(True, False), (False, False), (False, True)]
