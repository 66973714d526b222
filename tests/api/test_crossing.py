# SPDX-License-Identifier: Apache-2.0
"""Two projects' things never cross: every route with a name in it is tried by people whom the name is not for."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from tests.api.conftest import House, Person
from tests.api.seeded import Seeds, finished_run, seed

from radproof.store.ids import new_id
from radproof.store.tables import Base, Event

NAMED = re.compile(r"\{(\w+)(?::\w+)?\}")
OF_PATH = {
    "models": ("mdl",), "compare": ("run",), "data": ("dat",), "plans": ("pln",), "runs": ("run",), "readers": ("rdr",),
    "guards": ("grd",), "keys": ("key",), "projects": ("prj",), "people": ("usr",), "users": ("usr",),
    "invitations": ("inv",), "jobs": ("job",), "files": ("fil",),
}  # fmt: skip
PUBLIC = ("/static/", "/invite/")  # by a hash, or by a secret of its own
FIXED = {"kind": "original", "format": "json", "form": "json", "trial": "0", "name": "pgd", "verb": "cancel"}
CHANGING = {"POST", "PUT", "PATCH", "DELETE"}


@dataclass(frozen=True)
class Door:
    """One route and method."""

    method: str
    path: str

    def address(self, names: dict[str, str], extra: dict[str, str]) -> str:
        """With names in place of its parameters; what no kind is known for gets a run's."""
        parts: list[str] = []
        for segment in self.path.split("/"):
            kind = OF_PATH.get(parts[-1] if parts else "", ("run",))[0]
            parts.append(
                NAMED.sub(lambda found, kind=kind: extra.get(found[1]) or FIXED.get(found[1]) or names[kind], segment)
            )
        return "/".join(parts)


def doors(app: FastAPI) -> list[Door]:
    """Every route that has a name in it."""
    found: dict[Door, None] = {}
    for path, methods in everything(app):
        if NAMED.search(path) and not path.startswith(PUBLIC):
            for method in sorted(methods - {"HEAD", "OPTIONS"}):
                found[Door(method, path)] = None
    return list(found)


def everything(app: FastAPI) -> list[tuple[str, set[str]]]:
    """Path and methods of every route, also of routers within."""
    found: list[tuple[str, set[str]]] = []
    for route in app.routes:
        inner = getattr(route, "effective_route_contexts", None)
        for one in inner() if inner else [route]:
            found.append((one.path, set(one.methods or ())))
    return found


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("READS", "WRITES", "SCREENS", "SIGN_INS"):
        monkeypatch.setenv(f"RADPROOF_{name}_PER_MINUTE", "1000000")


@pytest.fixture
def seeds(crowd: None, house: House, tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    return seed(house, finished_run(tmp_path_factory.getbasetemp()))


def names_of(house: House, seeds: Seeds, person: Person) -> dict[str, str]:
    return {**seeds.names, "prj": person.project, "usr": person.id}


def counted(house: House) -> dict[str, int]:
    with house.service.database.reading() as session:
        return {
            table.name: session.execute(select(func.count()).select_from(table)).scalar_one()
            for table in Base.metadata.sorted_tables
            if table.name not in ("events", "sessions", "idempotency")
        }


def told(person: Person, door: Door, names: dict[str, str], extra: dict[str, str]) -> tuple[int, bytes, str, str]:
    """What is answered, without the names that were asked for."""
    body = {"json": {}} if door.method in CHANGING and door.path.startswith("/api/") else {}
    found = person.client.request(door.method, door.address(names, extra), follow_redirects=False, **body)
    content, where = found.content, found.headers.get("location", "")
    for value in sorted((*names.values(), *extra.values()), key=len, reverse=True):
        content, where = content.replace(value.encode(), b"NAME"), where.replace(value, "NAME")
    return found.status_code, content, where, found.headers.get("etag", "")


def crossed(house: House, seeds: Seeds, visitor: Person, owner: Person, *, changing_alone: bool = False) -> list[str]:
    """Every door that told a visitor more than a random name would have."""
    ours = names_of(house, seeds, owner)
    image = owner.client.get(f"/api/v1/runs/{seeds.run}/images?limit=1").json()["items"][0]["id"]
    faults: list[str] = []
    for door in doors(visitor.client.app):
        if (changing_alone and door.method not in CHANGING) or (visitor.role == "admin" and "/admin/" in door.path):
            continue  # administrators do manage people and projects
        nobody = {kind: new_id(kind) for kind in ours}
        found = told(visitor, door, ours, {"image": image, "image_id": image})
        nothing = told(visitor, door, nobody, {"image": f"{'0' * 16}-{'0' * 8}", "image_id": f"{'0' * 16}-{'0' * 8}"})
        if found != nothing or found[0] < 300:
            faults.append(f"{door.method} {door.path} as {visitor.role}: {found[:2]} instead of {nothing[:2]}")
    return faults


@pytest.mark.parametrize("role", ["viewer", "developer", "admin"])
def test_web_idor_no_route_tells_another_project_that_something_exists(house: House, seeds: Seeds, role: str) -> None:
    owner, stranger = house.person("admin"), house.person(role, project="other")
    before = counted(house)
    assert crossed(house, seeds, stranger, owner) == []
    assert counted(house) == before
    with house.service.database.reading() as session:
        done = session.execute(
            select(Event.action).where(Event.actor == stranger.id, Event.object.in_(seeds.names.values()))
        )
        assert done.scalars().all() == []


def test_web_idor_who_may_only_look_changes_nothing_of_their_own_project(house: House, seeds: Seeds) -> None:
    owner, viewer = house.person("admin"), house.person("viewer")
    before = counted(house)
    assert crossed(house, seeds, viewer, owner, changing_alone=True) == []
    assert counted(house) == before


def test_strangers_who_did_not_sign_in_see_nothing_of_anything(house: House, seeds: Seeds) -> None:
    owner, nobody = house.person("admin"), house.person("viewer", project="other")
    nobody.client.cookies.clear()
    ours = names_of(house, seeds, owner)
    for door in doors(nobody.client.app):
        status, _, where, _ = told(nobody, door, ours, {})
        assert status in (401, 403) or (status == 303 and where.startswith("/login")), door


def test_the_doors_are_real(house: House, seeds: Seeds) -> None:
    """Whoever belongs to the project gets in by the same addresses, or the tests above would prove nothing."""
    owner = house.person("developer")
    ours = names_of(house, seeds, owner)
    image = owner.client.get(f"/api/v1/runs/{seeds.run}/images?limit=1").json()["items"][0]["id"]
    known = {door for door in doors(owner.client.app) if door.method == "GET"}
    opened = {door.path for door in known if told(owner, door, ours, {"image": image})[0] == 200}
    assert {
        "/api/v1/runs/{id}", "/api/v1/runs/{id}/result", "/api/v1/runs/{id}/events", "/api/v1/runs/{id}/images",
        "/api/v1/runs/{id}/images/{image}", "/api/v1/runs/{id}/images/{image}/{kind}.png",
        "/api/v1/runs/{id}/report.{format}", "/api/v1/plans/{id}",
    } <= opened  # fmt: skip
    api = {door.path for door in known if door.path.startswith("/api/v1/") and "/parts/" not in door.path}
    assert len(opened & api) >= 0.7 * len(api), sorted(api - opened)


@pytest.mark.parametrize(
    "text", ["..", "%2e%2e", "..;", "%5c..%5c", "%00", "/etc/passwd", "%2fetc%2fpasswd", "a" * 3000, "'"]
)
def test_web_traversal_in_every_name_finds_nothing(house: House, seeds: Seeds, text: str, tmp_path: Path) -> None:
    owner = house.person("developer")
    names = dict.fromkeys(names_of(house, seeds, owner), text)
    for door in doors(owner.client.app):
        if door.method == "GET":
            found = owner.client.get(door.address(names, {"name": text}), follow_redirects=False)
            assert found.status_code != 500, door
            assert b"root:" not in found.content
            assert str(tmp_path).encode() not in found.content
