# SPDX-License-Identifier: Apache-2.0
"""A server with two projects that must not see each other, and people of every role."""

import copy
import hashlib
import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from tests.store.fresh import fresh

from radproof.api.app import create_app
from radproof.api.front.around import COOKIE
from radproof.api.service import Service
from radproof.api.serving.assembly import make_service
from radproof.store.ids import new_id
from radproof.store.settings import read_settings
from radproof.store.tables import Membership, Project, Session, User, now


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in: `client` sends the session's cookie, and its CSRF token with every request."""

    id: str
    role: str
    project: str
    client: TestClient
    csrf: str


@dataclass(frozen=True)
class House:
    """A server and its people."""

    service: Service
    person: Callable[..., Person]  # person("developer") or person("viewer", project="other")


@contextmanager
def opened(home: Path, **told: Any) -> Generator[Service]:
    """What a server in a new home works with; no worker runs."""
    with fresh(home) as database:
        service = make_service(read_settings(home=home, **{"worker": False, "database": database, **told}))
        try:
            yield service
        finally:
            service.screeners.close()
            service.jobs.close()
            service.database.close()


def made_app(service: Service) -> FastAPI:
    """The application. What is worked out of each route at the first request is worked out once for all tests."""
    app = create_app(service)
    router = app.router = copy.copy(_router())
    router.routes = list(router.routes)
    return app


@cache
def _router() -> APIRouter:
    return create_app(None).router  # pyright: ignore[reportArgumentType]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Projects "ours" and "other"; no worker runs."""
    with opened(tmp_path / "home") as service:
        yield furnished(service)


def furnished(service: Service) -> House:
    """The projects, and whoever is asked for."""
    app = made_app(service)
    projects: dict[str, str] = {}
    with service.database.writing() as session:
        for name in ("ours", "other"):
            projects[name] = new_id("prj")
            session.add(Project(id=projects[name], name=name))

    def person(role: str = "developer", project: str = "ours") -> Person:
        token, csrf, user = secrets.token_urlsafe(32), secrets.token_hex(32), new_id("usr")
        with service.database.writing() as session:
            session.add(User(id=user, name=f"{role}-{user[-6:]}", role=role))
            session.flush()
            session.add(Membership(user_id=user, project_id=projects[project]))
            session.add(
                Session(
                    hash=hashlib.sha256(token.encode()).hexdigest(),
                    user_id=user,
                    csrf=csrf,
                    project_id=projects[project],
                    expires=now() + timedelta(hours=1),
                )
            )
        client = TestClient(
            app,
            base_url="http://localhost",
            headers={"X-CSRF-Token": csrf},
            cookies={COOKIE: token},
            raise_server_exceptions=True,
        )
        return Person(user, role, projects[project], client, csrf)

    return House(service, person)
