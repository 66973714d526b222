# SPDX-License-Identifier: Apache-2.0
"""What stands around every request."""

import base64
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.requests import Request
from tests.api.conftest import House, Person, made_app, opened

from radproof.api.http import bodies, limits
from radproof.api.http.headers import CONTENT_POLICY, allowed, host_of
from radproof.api.http.limits import Limits, address
from radproof.api.http.problems import Problem
from radproof.api.people.callers import Callers
from radproof.store.settings import read_settings
from radproof.store.tables import Event

KEYS = "/api/v1/account/keys"
KEY = {"name": "pipeline"}


def _bare(house: House) -> TestClient:
    return TestClient(house.person().client.app, base_url="http://localhost", follow_redirects=False)


def _without_token(person: Person) -> TestClient:
    found = person.client
    del found.headers["X-CSRF-Token"]
    found.follow_redirects = False
    return found


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.1", "localhost@x"]
)
def test_dns_rebinding_another_host_name_is_refused(house: House, host: str) -> None:
    client = house.person().client
    for path in ("/api/v1/account", "/login", "/healthz"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code in (400, 421)
        assert host not in answer.text and "set-cookie" not in answer.headers


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1", "127.9.9.9"])
def test_this_machine_s_own_names_are_taken(house: House, host: str) -> None:
    assert house.person().client.get("/api/v1/account", headers={"Host": host}).status_code == 200


def test_names_of_the_settings_are_taken(tmp_path: Path) -> None:
    found = read_settings(
        home=tmp_path, host="0.0.0.0", public_url="https://Lab.example:8443", allowed_hosts=("inside.example",)
    )
    assert allowed("lab.example", found) and allowed("inside.example", found)
    assert not allowed("0.0.0.0", found) and not allowed("", found)
    assert host_of("lab.example.:443") == "lab.example" and host_of("a b") is None and host_of("a/b") is None


def test_every_answer_has_the_headers(house: House) -> None:
    client = house.person("admin").client
    for path in ("/api/v1/account", "/account", "/login", "/nowhere", "/api/v1/nowhere", "/api/v1/models/x"):
        headers = client.get(path, follow_redirects=False).headers
        assert headers["content-security-policy"] == CONTENT_POLICY
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        assert "camera=()" in headers["permissions-policy"]
        assert headers["cache-control"] in ("no-store", "private, no-cache")
        assert "strict-transport-security" not in headers


def test_clickjacking_no_page_can_be_framed(house: House) -> None:
    headers = house.person().client.get("/account").headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"] and headers["x-frame-options"] == "DENY"


def test_an_error_inside_has_the_headers_too_and_tells_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("Doe^Jane /srv/secret")

    person = house.person()
    monkeypatch.setattr("radproof.api.people.accounts.account", fails)
    client = TestClient(
        person.client.app, base_url="http://localhost", cookies=person.client.cookies, raise_server_exceptions=False
    )
    answer = client.get("/api/v1/account")
    assert answer.status_code == 500 and answer.headers["content-security-policy"] == CONTENT_POLICY
    assert "Doe" not in answer.text and "secret" not in answer.text
    page = client.get("/account", headers={"Accept": "text/html"})
    assert page.status_code == 500 and f"<code data-number>{page.headers['x-request-id']}</code>" in page.text


def test_cors_no_other_site_may_read(house: House) -> None:
    client = house.person().client
    for answer in (
        client.get("/api/v1/account", headers={"Origin": "https://evil.example"}),
        client.options(KEYS, headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_csrf_missing_is_refused(house: House) -> None:
    client = _without_token(house.person())
    assert client.post(KEYS, json=KEY).status_code == 403
    assert client.post("/account/keys", data={"name": "x", "days": "30"}).status_code == 403
    assert client.post("/logout").status_code == 403
    assert client.delete(f"{KEYS}/key_x").status_code == 403
    assert client.get(KEYS).json()["items"] == []


def test_csrf_of_another_session_is_refused(house: House) -> None:
    mine, theirs = house.person(), house.person()
    client = _without_token(mine)
    for token in (theirs.csrf, "", "\u00e9", mine.csrf[:-1], mine.csrf + "0"):
        assert client.post(KEYS, json=KEY, headers=[(b"X-CSRF-Token", token.encode())]).status_code == 403
        assert client.post("/account/keys", data={"csrf_token": token, "name": "x"}).status_code == 403
    assert client.post(KEYS, json=KEY, headers={"X-CSRF-Token": mine.csrf}).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:9"},
        {"Origin": "http://localhost.evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_csrf_from_another_origin_is_refused_even_with_the_token(house: House, headers: dict[str, str]) -> None:
    assert house.person().client.post(KEYS, json=KEY, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://localhost"}, {"Origin": "null", "Sec-Fetch-Site": "same-origin"}, {}]
)
def test_a_form_of_our_own_page_is_taken(house: House, headers: dict[str, str]) -> None:
    person = house.person()
    client = _without_token(person)
    told = {"csrf_token": person.csrf, "name": "x", "days": "30"}
    assert client.post("/account/keys", data=told, headers=headers).status_code == 200


def test_csrf_in_a_multipart_form_is_its_first_field(house: House) -> None:
    person = house.person()
    client = _without_token(person)
    files = {"file": ("x.zip", b"PK" + b"0" * 50_000)}
    refused = "this form is not from your present session"
    for path in ("/api/v1/models", "/models"):
        assert refused in client.post(path, files=files).text.lower().replace("\n", " ")
        late = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b\r\n'
        late += f'Content-Disposition: form-data; name="csrf_token"\r\n\r\n{person.csrf}\r\n--b--\r\n'.encode()
        answer = client.post(path, content=late, headers={"Content-Type": "multipart/form-data; boundary=b"})
        assert answer.status_code == 403
        assert refused not in client.post(path, data={"csrf_token": person.csrf}, files=files).text.lower()


async def _streamed(app: Any, path: str, headers: dict[str, str], pieces: int) -> tuple[int, int]:
    """How many pieces of 64 kB of an upload had been asked for when the answer came, and its status."""
    asked, status = 0, 0
    start = b'--b\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\nwrong\r\n--b\r\n'

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": start if asked == 1 else b"0" * 65_536, "more_body": asked < pieces}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    told = {"host": "localhost", "content-type": "multipart/form-data; boundary=b", **headers}
    scope: dict[str, Any] = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in told.items()], "client": ("127.0.0.1", 1),
        "server": ("localhost", 80), "http_version": "1.1", "root_path": "",
    }  # fmt: skip
    await app(scope, receive, send)
    return asked, status


def test_an_upload_is_refused_before_its_files_are_read(house: House) -> None:
    import asyncio

    person = house.person()
    cookie = "; ".join(f"{name}={value}" for name, value in person.client.cookies.items())
    asked, status = asyncio.run(_streamed(person.client.app, "/api/v1/models", {"cookie": cookie}, 1000))
    assert status == 403 and asked <= 2


def test_a_body_that_is_no_upload_is_small(house: House) -> None:
    client = house.person().client
    assert client.post(KEYS, content=b" " * 1_000_001, headers={"Content-Type": "application/json"}).status_code == 413
    pieces = (b" " * 100_000 for _ in range(11))
    assert client.post(KEYS, content=pieces, headers={"Content-Type": "application/json"}).status_code == 413
    assert client.post("/account/keys", files={"name": ("x", b"0" * 1_100_000)}).status_code == 413
    assert client.post(KEYS, json=KEY, headers={"Content-Encoding": "gzip"}).status_code == 415


@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000,
        '{"name": "x", "days": ' + "[" * 40 + "]" * 40 + "}",
        '{"name": "x", "days": NaN}',
        '{"name": "x", "days": -Infinity}',
        '{"name": "x", "days": 1e999}',
        '{"name": "x", "days": ' + "9" * 5000 + "}",
        '{"name": "a\\u0000b"}',
    ],
)
def test_json_depth_nan_and_nul_are_refused(house: House, body: str) -> None:
    answer = house.person().client.post(KEYS, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and answer.headers["content-type"] == "application/problem+json"


HARD = {
    "escaped quotes": '"' + '\\"' * 500_000,
    "quotes": '"\\' * 500_000,
    "backslashes": '"' + "\\" * 999_000,
    "backslashes and quotes": '\\\\\\"' * 250_000,
    "lists": "[" * 999_000,
    "pairs": "[]" * 499_000,
    "zeros": "1e" + "0" * 999_000,
    "exponents": "e0" * 499_000,
    "digits": ("9" * 299 + ",") * 3_300,
    "plain": "x" * 999_000,
}


@pytest.mark.parametrize("told", list(HARD))
def test_json_that_is_hard_to_read_is_read_once(told: str, tmp_path: Path) -> None:
    """In a process of its own: what went back again and again would take hours."""
    file = tmp_path / "body"
    file.write_text(HARD[told])
    code = """if True:
        import sys
        from radproof.api.http.bodies import check_json
        from radproof.api.http.problems import Problem
        try:
            check_json(open(sys.argv[1], "rb").read())
        except Problem:
            pass
        print("read")
    """
    found = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, timeout=60)
    assert found.stdout == "read\n", found.stderr


def test_json_is_looked_at_after_the_token_and_of_programs_alone(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[bytes] = []
    monkeypatch.setattr(bodies, "check_json", looked.append)
    person = house.person()
    client, bare = _without_token(person), _bare(house)
    json = {"Content-Type": "application/json"}
    for one, path in ((bare, KEYS), (bare, "/login"), (client, KEYS), (client, "/account/keys"), (client, "/login")):
        one.post(path, content=b'{"name": "x"}', headers=json)
    token = {"X-CSRF-Token": person.csrf}
    client.post("/account/keys", content=b'{"name": "x"}', headers={**json, **token})
    assert looked == []
    assert client.post(KEYS, content=b'{"name": "x"}', headers={**json, **token}).status_code == 201
    assert looked == [b'{"name": "x"}']


def test_json_that_only_looks_so_is_taken(house: House) -> None:
    body = '{"name": "NaN 1e999 \\\\u0000 [[[[ \\" {", "days": 30}'
    answer = house.person().client.post(KEYS, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 201


def test_a_form_of_thousands_of_fields_is_refused(house: House) -> None:
    client = _without_token(house.person())
    body = "&".join(f"a{i}=1" for i in range(1001))
    answer = client.post("/account/keys", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "path",
    ["/admin/..%2faccount", "/%2e%2e/account", "/account%00", "/account\\x", "/static/..%2f..%2fsecret",
     "/admin/people/..;/x", "/api/v1/admin/people/%2e%2e%2f", "/invite/..%2f..%2fetc%2fpasswd",
     "/admin/people/" + "x" * 9000],
)  # fmt: skip
def test_traversal_in_a_path_finds_nothing(house: House, path: str) -> None:
    answer = house.person("admin").client.get(path, follow_redirects=False)
    assert answer.status_code in (404, 405, 414, 422)


def test_unknown_methods_are_refused(house: House) -> None:
    client = house.person().client
    for method in ("TRACE", "PROPFIND", "CONNECT"):
        assert client.request(method, "/account").status_code == 405
    assert client.get("/account?a=%00").status_code == 400


def test_key_in_an_address_is_refused(house: House) -> None:
    client = house.person().client
    key = client.post(KEYS, json=KEY).json()["key"]
    bare = _bare(house)
    for path in (f"/api/v1/account?key={key}", f"/api/v1/account?x={key}", f"/{key}"):
        answer = bare.get(path)
        assert answer.status_code == 400 and key not in answer.text
    assert bare.get("/api/v1/account", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_a_key_that_opens_nothing_is_told_so(house: House) -> None:
    bare = _bare(house)
    basic = "Basic " + base64.b64encode(b"admin:admin").decode()
    for told in ("Bearer rp_" + "A" * 43, "Bearer", "Bearer ", basic, "Bearer ../../x"):
        answer = bare.get("/api/v1/account", headers={"Authorization": told})
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"


def test_revoking_a_key_ends_it_at_once(house: House) -> None:
    client, bare = house.person().client, _bare(house)
    made = client.post(KEYS, json=KEY).json()
    told = {"Authorization": f"Bearer {made['key']}"}
    assert bare.get("/api/v1/account", headers=told).status_code == 200
    assert client.get(KEYS).json()["items"][0]["used"] is not None
    assert client.delete(f"{KEYS}/{made['id']}").status_code == 204
    assert bare.get("/api/v1/account", headers=told).status_code == 401


def test_a_key_needs_no_token_and_cannot_make_lasting_ways_in(house: House) -> None:
    client, bare = house.person("admin").client, _bare(house)
    told = {"Authorization": f"Bearer {client.post(KEYS, json=KEY).json()['key']}"}
    assert bare.delete(f"{KEYS}/key_{'0' * 26}", headers=told).status_code == 404
    assert bare.post(KEYS, json=KEY, headers=told).status_code == 403
    assert bare.post("/api/v1/admin/people/invitations", json={"role": "admin"}, headers=told).status_code == 403


def test_refused_keys_are_told_once_a_minute_and_address(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [1000.0]
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: moment[0]))
    made = (client := house.person().client).post(KEYS, json=KEY).json()
    client.delete(f"{KEYS}/{made['id']}")
    here, there = (
        TestClient(client.app, base_url="http://localhost", client=(one, 1)) for one in ("10.0.0.1", "10.0.0.2")
    )
    secret = "rp_" + "A" * 43
    for one, key in ((here, made["key"]), (here, secret), (here, "x"), (there, secret), (there, made["key"])):
        assert one.get("/api/v1/account", headers={"Authorization": f"Bearer {key}"}).status_code == 401
    moment[0] += 61
    assert here.get("/api/v1/account", headers={"Authorization": f"Bearer {secret}"}).status_code == 401
    with house.service.database.reading() as session:
        found = [one for one in session.query(Event).all() if one.action == "key.refused"]
    assert [(one.actor, one.object, one.detail) for one in found] == [("", made["id"], {}), ("", "", {}), ("", "", {})]


def test_strangers_are_led_to_the_form_and_back(house: House) -> None:
    bare = _bare(house)
    answer = bare.get("/runs?state=done&x=1")
    assert answer.status_code == 303 and answer.headers["location"] == "/login?next=%2Fruns%3Fstate%3Ddone%26x%3D1"
    assert bare.get("/runs", headers={"HX-Request": "true"}).headers["hx-redirect"] == "/login"
    told = bare.get("/api/v1/account")
    assert told.status_code == 401 and told.headers["content-type"] == "application/problem+json"


def test_too_many_requests_are_told_when_to_come_back(tmp_path: Path) -> None:
    with opened(tmp_path / "home", auth=False, reads_per_minute=3) as service:
        client = TestClient(made_app(service), base_url="http://localhost")
        found = [client.get("/api/v1/account") for _ in range(4)]
    assert [one.status_code for one in found] == [200, 200, 200, 429]
    assert int(found[3].headers["retry-after"]) in range(1, 21)


def test_limits_are_bounded_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST", 10)
    found = Limits(read_settings(home=tmp_path, sign_ins_per_minute=1))
    found.take("sign-in", "first")
    with pytest.raises(Problem):
        found.take("sign-in", "first")
    for one in range(100):
        found.take("sign-in", str(one))
    assert len(found._buckets["sign-in"]) == 10  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("peer", "told", "trusted", "expected"),
    [
        ("1.2.3.4", "9.9.9.9", (), "1.2.3.4"),
        ("10.0.0.1", "9.9.9.9, 8.8.8.8", ("10.0.0.1",), "8.8.8.8"),
        ("10.0.0.1", "9.9.9.9, 10.0.0.2", ("10.0.0.0/8",), "9.9.9.9"),
        ("10.0.0.1", "nonsense", ("10.0.0.1",), "unknown"),
        ("2001:db8::1", "", (), "2001:db8::/64"),
        ("::ffff:1.2.3.4", "", (), "1.2.3.4"),
    ],
)
def test_only_trusted_proxies_are_believed(
    tmp_path: Path, peer: str, told: str, trusted: tuple[str, ...], expected: str
) -> None:
    headers = [(b"x-forwarded-for", told.encode())] if told else []
    request = Request({"type": "http", "client": (peer, 1), "headers": headers})
    assert address(request, read_settings(home=tmp_path, trusted_proxies=trusted)) == expected


def test_a_look_up_that_began_before_a_change_is_not_kept(house: House) -> None:
    from radproof.api.people.access import Caller

    callers, who = Callers(), Caller("usr", "ada", "viewer", (), None)
    before = callers.changes
    callers.forget()
    callers.keep("x", who, before)
    assert callers.get("x") is None
    callers.keep("x", who, callers.changes)
    assert callers.get("x") is who


@pytest.fixture
def open_house(tmp_path: Path) -> Any:
    with opened(tmp_path / "home", auth=False) as service:
        yield TestClient(made_app(service), base_url="http://localhost", follow_redirects=False)


def test_without_sign_in_everybody_here_is_the_administrator(open_house: TestClient) -> None:
    found = open_house.get("/api/v1/account").json()
    assert found["role"] == "admin" and [one["name"] for one in found["projects"]] == ["local"]
    assert open_house.get("/admin/people").status_code == 200


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-Host", "x-forwarded-PREFIX", "X-Real-IP", "Via"])
def test_without_sign_in_nothing_is_taken_that_a_proxy_passed_on(open_house: TestClient, name: str) -> None:
    for path in ("/", "/api/v1/account", "/admin/people", "/healthz"):
        answer = open_house.get(path, headers={name: "for=10.0.0.7"})
        assert answer.status_code == 403 and "sign-in is off" in answer.text.lower()


def test_with_sign_in_proxies_pass_requests_on(house: House) -> None:
    told = {"Forwarded": "for=10.0.0.7", "X-Forwarded-For": "10.0.0.7", "X-Forwarded-Proto": "https"}
    assert house.person().client.get("/api/v1/account", headers=told).status_code == 200


def test_csrf_without_sign_in_another_site_is_refused(open_house: TestClient) -> None:
    post: Callable[..., Any] = open_house.post
    assert post("/api/v1/admin/projects", json={"name": "a"}).status_code == 201  # a program
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert post("/api/v1/admin/projects", json={"name": "b"}, headers=headers).status_code == 403
    assert post("/admin/projects", data={"name": "b"}).status_code == 403
    page = open_house.get("/admin/projects").text
    token = page.split('name="csrf" content="')[1].split('"')[0]
    assert len(token) == 64
    assert post("/admin/projects", data={"csrf_token": token, "name": "b"}).status_code == 303
