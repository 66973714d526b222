# SPDX-License-Identifier: Apache-2.0
"""The client's requests, answered by the real application."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient
from tests.api.conftest import House, Person
from tests.api.conftest import house as house
from tests.api.lodging import screeners
from tests.api.seeded import Seeds, finished_run, seed

from radproof.client import Client
from radproof.store.tables import Membership


@dataclass
class Bridge(httpx.BaseTransport):
    """Forwards requests to the application; loses the answer of those that `lose` says."""

    app: Any
    lose: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    after: Callable[[httpx.Request, httpx.Response], None] = lambda request, answer: None
    asked: list[tuple[str, str, httpx.Headers, int]] = field(default_factory=list[Any])

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        inner = TestClient(self.app, base_url="http://localhost", follow_redirects=False)
        told = {key: value for key, value in request.headers.items() if key != "host"}
        answer = inner.request(request.method, request.url.raw_path.decode(), content=request.read(), headers=told)
        self.asked.append((request.method, request.url.path, request.headers, answer.status_code))
        self.after(request, answer)
        if (request.method, request.url.path) in self.lose:
            self.lose.discard((request.method, request.url.path))
            raise httpx.ReadError("the answer was lost", request=request)
        kept = [(k, v) for k, v in answer.headers.multi_items() if k not in ("content-encoding", "transfer-encoding")]
        return httpx.Response(answer.status_code, headers=kept, content=answer.content)


@dataclass
class Lab:
    """A key of a developer's, one of everything in their project, and the way there."""

    house: House
    person: Person
    seeds: Seeds
    bridge: Bridge
    key: str

    def client(self) -> Client:
        return Client("http://localhost", self.key, sleep=lambda _: None, transport=self.bridge)

    def also(self, project: str) -> str:
        """Make them a member of another project; its id."""
        other = self.house.person("viewer", project).project
        with self.house.service.database.writing() as session:
            session.add(Membership(user_id=self.person.id, project_id=other))
        return other


@pytest.fixture
def lab(house: House, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    person = house.person("developer")
    seeds = seed(house, finished_run(tmp_path_factory.getbasetemp()), person)
    screeners(house)
    key = person.client.post("/api/v1/account/keys", json={"name": "program"}).json()["key"]
    return Lab(house, person, seeds, Bridge(person.client.app), key)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """What looks like a model file."""
    path = tmp_path / "net.safetensors"
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder per class."""
    for name in ("Normal", "Pneumonia"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
    return tmp_path / "set"
