# SPDX-License-Identifier: Apache-2.0
"""Sign-in by an identity provider, made up on the loopback: what it may say, and what is refused."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import RSAKey
from tests.api.conftest import made_app, opened

from radproof.api.service import Service
from radproof.store.people import add_user
from radproof.store.tables import Event, User

CLIENT = "radproof-lab"
KEY = RSAKey.generate_key(2048, {"kid": "one"})
OTHER = RSAKey.generate_key(2048, {"kid": "one"})


@dataclass
class Provider:
    """What it was asked, and what it answers."""

    address: str = ""
    issuer: str = ""
    token: Callable[[dict[str, Any]], str] = lambda claims: jwt.encode({"alg": "RS256", "kid": "one"}, claims, KEY)
    claims: dict[str, Any] = field(default_factory=dict[str, Any])
    nonce: str = ""
    challenge: str = ""
    asked: list[str] = field(default_factory=list[str])

    def discovery(self) -> dict[str, str]:
        told = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys"}
        return {"issuer": self.issuer or self.address} | {name: self.address + path for name, path in told.items()}

    def exchange(self, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        verifier = hashlib.sha256(form["code_verifier"][0].encode()).digest()
        if base64.urlsafe_b64encode(verifier).decode().rstrip("=") != self.challenge or form["code"] != ["good"]:
            return 400, {"error": "invalid_grant"}
        moment = int(time.time())
        claims = {
            "iss": self.address,
            "sub": "42",
            "aud": CLIENT,
            "exp": moment + 60,
            "iat": moment,
            "nonce": self.nonce,
        }
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": self.token({**claims, **self.claims})}


@pytest.fixture
def provider() -> Iterator[Provider]:
    found = Provider()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

        def _answer(self, status: int, told: Any) -> None:
            found.asked.append(self.path)
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            if self.path == "/keys":
                self._answer(200, {"keys": [KEY.as_dict(private=False)]})
            else:
                self._answer(200, found.discovery())

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._answer(*found.exchange(form))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def service(tmp_path: Path, provider: Provider) -> Iterator[Service]:
    told = {
        "oidc_issuer": provider.address,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": "s",
        "oidc_roles": {"radiology": "clinician", "lab": "developer"},
        "sign_ins_per_minute": 1000,
    }
    with opened(tmp_path / "home", **told) as made:
        yield made


@pytest.fixture
def browser(service: Service) -> TestClient:
    return TestClient(made_app(service), base_url="http://localhost", follow_redirects=False)


def _begin(browser: TestClient, provider: Provider, next: str = "/runs") -> str:
    """To the provider; the state that it has to give back."""
    answer = browser.get("/login/oidc", params={"next": next})
    assert answer.status_code == 303
    asked = parse_qs(urlsplit(answer.headers["location"]).query)
    assert asked["code_challenge_method"] == ["S256"] and asked["response_type"] == ["code"]
    provider.nonce, provider.challenge = asked["nonce"][0], asked["code_challenge"][0]
    return asked["state"][0]


def _back(browser: TestClient, state: str, code: str = "good") -> Any:
    return browser.get("/login/oidc/back", params={"state": state, "code": code})


def _enter(browser: TestClient, provider: Provider, **claims: Any) -> Any:
    provider.claims = claims
    return _back(browser, _begin(browser, provider))


def test_a_person_is_made_by_subject_with_the_role_of_their_groups(browser: TestClient, provider: Provider) -> None:
    answer = _enter(browser, provider, preferred_username="Grace", groups=["lab", "radiology", "x"])
    assert answer.status_code == 303 and answer.headers["location"] == "/runs"
    found = browser.get("/api/v1/account").json()
    assert (found["name"], found["role"], found["projects"]) == ("grace", "developer", [])
    _enter(browser, provider, preferred_username="renamed", groups=[])
    again = browser.get("/api/v1/account").json()
    assert (again["id"], again["name"], again["role"]) == (found["id"], "grace", "viewer")


def test_an_account_of_the_same_name_is_not_taken_over(
    service: Service, browser: TestClient, provider: Provider
) -> None:
    with service.database.writing() as session:
        root = add_user(session, "root", "admin", password="x").id
    _enter(browser, provider, preferred_username="root")
    found = browser.get("/api/v1/account").json()
    assert found["id"] != root and found["name"].startswith("root-") and found["role"] == "viewer"


def _by_hand(header: dict[str, str], claims: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (header, claims)]
    proof = base64.urlsafe_b64encode(sign(b".".join(parts))).rstrip(b"=")
    return b".".join([*parts, proof]).decode()


def _none(claims: dict[str, Any]) -> str:
    return _by_hand({"alg": "none"}, claims, lambda _: b"")


def _confused(claims: dict[str, Any]) -> str:
    """Signed by HMAC under the public key, as if that were a shared secret."""
    return _by_hand(
        {"alg": "HS256", "kid": "one"}, claims, lambda told: hmac.digest(KEY.as_pem(private=False), told, "sha256")
    )


@pytest.mark.parametrize(
    "token", [_none, _confused, lambda claims: jwt.encode({"alg": "RS256", "kid": "one"}, claims, OTHER),
              lambda claims: jwt.encode({"alg": "RS256", "kid": "two"}, claims, KEY), lambda _: "nonsense",
              lambda claims: jwt.encode({"alg": "RS256", "kid": "one"}, claims, KEY)[:-4] + "AAAA"],
    ids=["alg none", "public key as secret", "another key", "unknown key", "nonsense", "altered"],
)  # fmt: skip
def test_a_token_that_the_provider_did_not_sign_is_refused(
    browser: TestClient, provider: Provider, token: Callable[[dict[str, Any]], str]
) -> None:
    provider.token = token
    assert _enter(browser, provider).status_code == 401
    assert browser.get("/api/v1/account").status_code == 401


@pytest.mark.parametrize(
    "claims",
    [{"aud": "another"}, {"aud": [CLIENT, "x"], "azp": "x"}, {"nonce": "another"}, {"nonce": None},
     {"exp": int(time.time()) - 3600}, {"iat": int(time.time()) + 3600}, {"iss": "https://evil.example"}, {"sub": ""},
     {"sub": None}, {"exp": "soon"}, {"aud": None}, {"sub": "x" * 300}, {"nbf": int(time.time()) + 3600}],
    ids=lambda claims: "-".join(claims),
)  # fmt: skip
def test_a_token_that_is_not_for_this_sign_in_is_refused(
    browser: TestClient, provider: Provider, claims: dict[str, Any]
) -> None:
    assert _enter(browser, provider, **claims).status_code == 401
    assert browser.get("/api/v1/account").status_code == 401


def test_csrf_an_answer_that_another_browser_asked_for_is_refused(
    service: Service, browser: TestClient, provider: Provider
) -> None:
    state = _begin(browser, provider)
    other = TestClient(browser.app, base_url="http://localhost", follow_redirects=False)
    assert _back(other, state).status_code == 401
    _begin(other, provider)
    assert _back(other, state).status_code == 401
    for told in ("", "x", state + "x"):
        assert _back(browser, told).status_code == 401
    browser.cookies.clear()
    browser.cookies.set("radproof_oidc", "e30.0000")
    assert _back(browser, state).status_code == 401


def test_a_code_of_somebody_else_s_exchange_is_refused(browser: TestClient, provider: Provider) -> None:
    assert _back(browser, _begin(browser, provider), code="stolen").status_code == 401
    state = _begin(browser, provider)
    provider.challenge = "another"
    assert _back(browser, state).status_code == 401


def test_an_answer_counts_for_ten_minutes(
    browser: TestClient, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from radproof.api.people import oidc

    state = _begin(browser, provider)
    late = time.time() + 601
    monkeypatch.setattr(oidc, "time", SimpleNamespace(time=lambda: late))
    assert _back(browser, state).status_code == 401


def test_somebody_disabled_stays_out(service: Service, browser: TestClient, provider: Provider) -> None:
    _enter(browser, provider)
    with service.database.writing() as session:
        session.query(User).one().disabled = True
    service.callers.forget()
    assert _enter(browser, provider).status_code == 401
    with service.database.reading() as session:
        assert session.query(Event).order_by(Event.number.desc()).first().action == "session.refused"  # pyright: ignore


def test_open_redirect_after_the_provider(browser: TestClient, provider: Provider) -> None:
    state = _begin(browser, provider, "//evil.example")
    assert _back(browser, state).headers["location"] == "/"


def test_ssrf_only_the_issuer_is_asked_and_by_its_own_name(browser: TestClient, provider: Provider) -> None:
    provider.issuer = "https://evil.example"
    answer = browser.get("/login/oidc", params={"issuer": "http://169.254.169.254", "next": "http://169.254.169.254"})
    assert answer.status_code == 503 and provider.asked == ["/.well-known/openid-configuration"]


def test_ssrf_endpoints_go_by_tls(browser: TestClient, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    told = provider.discovery() | {"token_endpoint": "http://169.254.169.254/token"}
    monkeypatch.setattr(provider, "discovery", lambda: told)
    assert browser.get("/login/oidc").status_code == 503


def test_without_the_extra_it_says_what_to_install(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from radproof.api.people import oidc

    monkeypatch.setattr(oidc, "find_spec", lambda _: None)
    answer = browser.get("/login/oidc")
    assert answer.status_code == 503 and "radproof[service,oidc]" in answer.text


def test_the_form_offers_it_where_it_is_set(browser: TestClient) -> None:
    assert "/login/oidc?next=/runs" in browser.get("/login?next=/runs").text
