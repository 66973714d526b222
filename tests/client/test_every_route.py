# SPDX-License-Identifier: Apache-2.0
"""Every route of the API has a method of the client, or a reason why not."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.client.conftest import House

from radproof.client import Client

BROWSER = "a key cannot do it: whoever finds one must not make lasting ones, or change who may do what"
WITHOUT = {
    "PATCH /account": "the current project is a browser's; programs say `project`",
    "POST /account/password": BROWSER,
    "POST /account/keys": BROWSER,
    "POST /admin/people/invitations": BROWSER,
    "DELETE /admin/people/invitations/{}": BROWSER,
    "PATCH /admin/people/{}": BROWSER,
    "POST /admin/people/{}/reset": BROWSER,
    "POST /admin/projects": BROWSER,
    "PATCH /admin/projects/{}": BROWSER,
    "PUT /admin/projects/{}/members/{}": BROWSER,
    "DELETE /admin/projects/{}/members/{}": BROWSER,
    "GET /runs/{}/events": "`wait` asks every two seconds, which needs no open connection",
}
LOCAL = {"close", "project", "wait"}  # they ask by other methods
ANSWER = {
    "id": "x", "name": "x", "state": "ready", "items": [], "next": None, "version": "1", "worker": True, "queued": 0,
    "running": 0, "image": {"id": "x"}, "trials": 1, "answered": 1, "finished": True, "whole": True,
    "pooled": {"answers": 0, "correct": 0, "readers": 0, "verdict": "", "sentence": ""},
}  # fmt: skip
GIVEN: dict[str, Any] = {
    "plan": "x1", "document": {}, "format": "html", "kind": "attack", "side": "left", "altered": "left", "number": 1,
    "priority": 1, "seconds": 1.0, "thing": None,
}  # fmt: skip


def template(path: str) -> str:
    """Names become {}."""
    return re.sub(r"\{\w+\}", "{}", path.removeprefix("/api/v1"))


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, set[str]]:
    """What each public method asks a server: "METHOD /path" with {} for x1."""
    file = tmp_path / "a.png"
    file.write_bytes(b"x")
    heard: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        path = re.sub(r"(?<=[/.])(x1|1|attack|attacked|left|html)(?=[/.]|$)", "{}", request.url.path)
        heard.append(f"{request.method} {template(path)}")
        told = ANSWER | {"trials": []} if path.endswith("/outcome") else ANSWER
        return httpx.Response(200, json={} if path.endswith("/parts") else told)

    found: dict[str, set[str]] = {}
    with Client("https://lab.example", "k", transport=httpx.MockTransport(answer)) as client:
        for name, method in inspect.getmembers(client, inspect.ismethod):
            if name.startswith("_") or name in (*LOCAL, "wait_ready"):
                continue
            heard.clear()
            wanted = [one for one in inspect.signature(method).parameters.values() if one.default is one.empty]
            values = [file if "path" in one.name or one.annotation is Path else GIVEN.get(one.name, "x1")
                      for one in wanted if one.kind is not one.VAR_KEYWORD]  # fmt: skip
            told = method(*values)
            if isinstance(told, Iterator):
                list(told)
            found[name] = set(heard)
        client.sign_out("x1")
        found["sign_out"] = found["sign_out"] | {heard[-1]}
    return found


def test_every_route_has_a_method_or_a_reason(house: House, asked: dict[str, set[str]]) -> None:
    paths = house.person("admin").client.get("/api/v1/openapi.json").json()["paths"]
    routes = {f"{method.upper()} {template(path)}" for path, item in paths.items() for method in item}
    called = set[str]().union(*asked.values())
    assert set(WITHOUT) <= routes, "a reason for a route that is not there"
    assert not set(WITHOUT) & called, "a reason for a route that has a method"
    assert called <= routes, "a method for a route that is not there"
    assert routes - called - set(WITHOUT) == set(), "routes without a method: write one, or a reason here"
    assert all(len(one) == (2 if name == "sign_out" else 1) for name, one in asked.items()), asked
