# SPDX-License-Identifier: Apache-2.0
"""Every route of the application: strangers are refused, and nothing changes without a token."""

import re
from collections.abc import Iterator
from typing import Any

from fastapi.testclient import TestClient
from tests.api.conftest import House

PUBLIC = {"/login", "/login/oidc", "/login/oidc/back", "/invite/{secret}", "/healthz", "/readyz", "/metrics"}
STATIC = "/static/"
SAFE = {"GET", "HEAD", "OPTIONS"}


def _routes(app: Any) -> Iterator[tuple[str, str]]:
    """(method, template) of every route, those of included routers too."""
    for one in app.routes:
        if hasattr(one, "effective_route_contexts"):
            for found in one.effective_route_contexts():
                yield from ((method, found.path) for method in found.methods or ())
        else:
            yield from ((method, one.path) for method in getattr(one, "methods", None) or ())


def _path(template: str) -> str:
    return re.sub(r"\{[^}]+\}", "run_" + "0" * 26, template)


def test_every_route_refuses_a_stranger(house: House) -> None:
    app: Any = house.person().client.app
    found = sorted(set(_routes(app)))
    assert len(found) > 40 and ("GET", "/api/v1/account") in found and ("POST", "/admin/projects") in found
    client = TestClient(app, base_url="http://localhost", follow_redirects=False)
    house.service.limits._rates.update(read=10**6, write=10**6)  # pyright: ignore[reportPrivateUsage]
    for method, template in found:
        if template in PUBLIC or template.startswith(STATIC):
            continue
        answer = client.request(method, _path(template))
        if template.startswith("/api/"):
            assert answer.status_code == 401, (method, template)
            assert answer.headers["content-type"] == "application/problem+json"
        else:
            assert answer.status_code == 303 and answer.headers["location"].startswith("/login"), (method, template)
        assert "set-cookie" not in answer.headers


def test_every_unsafe_route_refuses_without_a_token(house: House) -> None:
    house.service.limits._rates.update(read=10**6, write=10**6, screen=10**6)  # pyright: ignore[reportPrivateUsage]
    person = house.person("admin")
    del person.client.headers["X-CSRF-Token"]
    for method, template in sorted(set(_routes(person.client.app))):
        if method in SAFE:
            continue
        answer = person.client.request(method, _path(template), follow_redirects=False)
        assert answer.status_code == 403, (method, template)
        form = person.client.request(method, _path(template), data={"name": "x"}, follow_redirects=False)
        assert form.status_code == 403, (method, template)
    assert person.client.get("/api/v1/account").status_code == 200
