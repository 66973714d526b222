# SPDX-License-Identifier: Apache-2.0
"""Every request has a number, a line in the log and its figures; nothing of what it carried is in them."""

import asyncio
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request, UploadFile
from fastapi.testclient import TestClient
from tests.api.conftest import House, made_app
from tests.api.observing.test_logs import PATIENT, lines, written
from tests.store.fresh import migrated

from radproof.api.observing import logs
from radproof.api.observing.metrics import Metrics
from radproof.api.observing.observed import Observed
from radproof.store.database import Database

__all__ = ["written"]

KEY = "rp_key_0123456789abcdefghijklmnop"


@pytest.fixture
def database(tmp_path: Any) -> Iterator[Database]:
    with migrated(tmp_path) as made:
        yield made


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()

    @app.get("/things/{name}")
    def thing(name: str) -> str:
        if name.startswith("broken"):
            raise RuntimeError(f"no {name}")
        return name

    @app.post("/api/v1/screening")
    async def take(request: Request) -> int:
        return len(await request.body())

    @app.post("/files")
    def files(image: UploadFile) -> str:
        raise ValueError(f"cannot decode {image.filename}: {image.file.read()!r}")

    return app


@pytest.fixture
def metrics(database: Database) -> Metrics:
    return Metrics(database)


@pytest.fixture
def client(app: FastAPI, metrics: Metrics) -> TestClient:
    return TestClient(Observed(app, metrics), raise_server_exceptions=False)  # pyright: ignore[reportArgumentType]


def configure(out: io.StringIO, app: FastAPI) -> None:
    logs.configure(out, routes={getattr(route, "path", "") for route in app.routes})


def test_a_line_says_the_template_and_the_status(client: TestClient, app: FastAPI, written: io.StringIO) -> None:
    configure(written, app)
    answer = client.get("/things/a")
    told = lines(written)[-1]
    assert told["route"] == "/things/{name}" and told["status"] == 200 and told["method"] == "GET"
    assert told["request"] == answer.headers["x-request-id"]


def test_privacy_phi_in_path_query_headers_file_names_and_bodies_is_not_written(
    client: TestClient, app: FastAPI, written: io.StringIO, metrics: Metrics
) -> None:
    configure(written, app)
    said = {"X-Patient": PATIENT, "User-Agent": PATIENT, "Referer": f"http://x/{PATIENT}", "Cookie": f"a={PATIENT}"}
    client.get(f"/things/{PATIENT}", params={"name": PATIENT}, headers=said)
    client.get(f"/things/broken-{PATIENT}", headers=said)
    client.get(f"/{PATIENT}")
    client.request(PATIENT.replace("^", ""), "/")
    client.post("/files", files={"image": (f"{PATIENT}.dcm", b"DICM" + PATIENT.encode(), "application/dicom")})
    assert len(lines(written)) >= 5
    assert any(line.get("error") == "RuntimeError" for line in lines(written))
    for kept in (written.getvalue(), metrics.text().decode()):
        assert "DOE" not in kept and "JANE" not in kept


def test_an_api_key_in_the_url_or_a_header_is_not_logged(
    client: TestClient, app: FastAPI, written: io.StringIO, metrics: Metrics
) -> None:
    configure(written, app)
    client.get("/things/a", params={"key": KEY}, headers={"Authorization": f"Bearer {KEY}"})
    client.get(f"/things/broken{KEY}")
    assert KEY not in written.getvalue() + metrics.text().decode()


def test_an_error_inside_is_one_answer_and_two_lines(client: TestClient, app: FastAPI, written: io.StringIO) -> None:
    configure(written, app)
    assert client.get("/things/broken").status_code == 500
    assert [line["event"] for line in lines(written)] == ["request.failed", "request"]
    assert lines(written)[0]["request"] == lines(written)[1]["request"]


def test_figures_count_templates_classes_and_bytes(client: TestClient, metrics: Metrics) -> None:
    client.get("/things/a")
    client.get("/things/b")
    client.get("/nowhere")
    client.post("/api/v1/screening", content=b"x" * 100)
    told = metrics.text().decode()
    assert 'radproof_requests_total{method="GET",route="/things/{name}",status="2xx"} 2.0' in told
    assert 'radproof_requests_total{method="GET",route="none",status="4xx"} 1.0' in told
    assert 'radproof_received_bytes_total{route="/api/v1/screening"} 100.0' in told
    assert "radproof_screening_seconds_count 1.0" in told and "radproof_screening_requests 0.0" in told


def test_many_paths_that_lead_nowhere_make_one_label(client: TestClient, metrics: Metrics) -> None:
    for number in range(20):
        client.get(f"/x{number}")
        client.request(f"M{number}", "/")
    told = metrics.text().decode()
    assert told.count("radproof_requests_total{") == 2


def dribbled(house: House, path: str, media: str, pieces: list[bytes], **told: Any) -> tuple[dict[str, Any], bytes]:
    """The answer to a body that stops after some pieces, and has no end."""
    who, sent, waiting = house.person(), [], list(pieces)
    cookie = "; ".join(f"{name}={value}" for name, value in who.client.cookies.items())
    asked = {"host": "localhost", "content-type": media, "cookie": cookie, "x-csrf-token": who.csrf}

    async def body() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": waiting.pop(0), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": b"", "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in asked.items()], "http_version": "1.1",
        "root_path": "", "scheme": "http", "server": ("localhost", 80), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    outer: Any = Observed(made_app(house.service), Metrics(house.service.database), **told)  # pyright: ignore
    asyncio.run(outer(scope, body, send))
    return sent[0], b"".join(message.get("body", b"") for message in sent[1:])


@pytest.mark.parametrize("path", ["/api/v1/plans", "/api/v1/data", "/api/v1/screening"])
def test_multipart_with_a_slow_body_is_given_up_and_told_so(house: House, path: str) -> None:
    """A small body, a form with files and an image: one that rests, and one that comes byte by byte."""
    media = "application/json" if path.endswith("plans") else "multipart/form-data; boundary=b"
    name = "image" if path.endswith("screening") else "file"
    begun = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="x"\r\n\r\nPK\x03\x04'.encode()
    many = {"patience": 9.0, "slowest": -1}  # every byte takes from the time that is left
    for told, pieces in (({"patience": 0.05}, [begun]), (many, [begun[at : at + 1] for at in range(len(begun))])):
        head, text = dribbled(house, path, media, pieces, **told)
        assert head["status"] == 408 and (b"connection", b"close") in head["headers"], text
        assert "the request came too slowly" in json.loads(text)["detail"]
    assert [found for found in (house.service.settings.home / "uploads").rglob("*") if found.is_file()] == []


def test_lines_are_json_without_line_ends_inside(client: TestClient, app: FastAPI, written: io.StringIO) -> None:
    configure(written, app)
    client.get("/things/a%0A%7B%7D")
    assert all(json.loads(line) for line in written.getvalue().splitlines()) and len(lines(written)) == 1
