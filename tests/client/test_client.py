# SPDX-License-Identifier: Apache-2.0
"""The client: pages, retries, keys that go to one server alone, problems as errors, downloads that are whole."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from radproof.client import Client, NotFound, Refused, ServerFailed
from radproof.client.http import Transport
from radproof.client.packing import packed, packed_model
from radproof.errors import BadInput, BadModel, StorageFull

RUN = {"id": "run_1", "name": "a", "state": "done", "progress": {"stage": None, "share": None}, "later": "kept"}
Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, **told: Any) -> tuple[Client, list[float]]:
    waited: list[float] = []
    made = Client("https://lab.example", "rp_key", sleep=waited.append, transport=httpx.MockTransport(handler), **told)
    return made, waited


def answers(*made: httpx.Response) -> tuple[Handler, list[httpx.Request]]:
    asked: list[httpx.Request] = []
    left = list(made)

    def handler(request: httpx.Request) -> httpx.Response:
        request.read()
        asked.append(request)
        return left.pop(0)

    return handler, asked


def test_the_key_goes_into_the_header() -> None:
    handler, asked = answers(httpx.Response(200, json=RUN))
    with client(handler)[0] as lab:
        found = lab.run("run_1")
    assert asked[0].headers["authorization"] == "Bearer rp_key" and "rp_key" not in str(asked[0].url)
    assert found.ended and found.model_dump()["later"] == "kept"


def test_the_key_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADPROOF_KEY", "rp_other")
    handler, asked = answers(httpx.Response(200, json=RUN))
    with Client("https://lab.example", transport=httpx.MockTransport(handler)) as lab:
        lab.run("run_1")
    assert asked[0].headers["authorization"] == "Bearer rp_other"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_the_key_goes_nowhere_else(status: int) -> None:
    handler, asked = answers(httpx.Response(status, headers={"Location": "https://elsewhere.example/"}))
    with client(handler)[0] as lab, pytest.raises(Refused, match="sends elsewhere"):
        lab.run("run_1")
    assert [request.url.host for request in asked] == ["lab.example"]


@pytest.mark.parametrize(
    "url", ["ftp://lab.example", "lab.example", "https://name:word@lab.example", "https://lab.example/?a=b", "https://"]
)
def test_what_is_no_address_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="address"):
        Client(url, "rp_key")


def test_http_is_for_this_machine_unless_it_is_allowed() -> None:
    with pytest.raises(BadInput, match="https"):
        Client("http://lab.example", "rp_key")
    for url, told in (
        ("http://127.0.0.1:8000", {}),
        ("http://localhost", {}),
        ("http://a.example", {"allow_http": True}),
    ):
        Client(url, "rp_key", **told).close()


@pytest.mark.parametrize("status", [429, 503])
def test_it_waits_as_long_as_it_is_told_and_asks_again(status: int) -> None:
    handler, asked = answers(
        httpx.Response(status, headers={"Retry-After": "7"}), httpx.Response(status), httpx.Response(200, json=RUN)
    )
    lab, waited = client(handler)
    lab.run("run_1")
    assert waited == [7.0, 1.0] and len(asked) == 3
    lab.close()


def test_an_absurd_retry_after_is_cut() -> None:
    handler, _ = answers(httpx.Response(429, headers={"Retry-After": "999999"}), httpx.Response(200, json=RUN))
    lab, waited = client(handler)
    lab.run("run_1")
    assert waited == [60.0]
    lab.close()


def test_a_request_that_makes_something_is_sent_again_with_the_same_idempotency_key() -> None:
    handler, asked = answers(httpx.Response(503), httpx.Response(201, json=RUN), httpx.Response(201, json=RUN))
    with client(handler)[0] as lab:
        lab.start({"name": "a"})
        lab.start("pln_1", name="b")
    keys = [request.headers["idempotency-key"] for request in asked]
    assert keys[0] == keys[1] != keys[2]
    assert json.loads(asked[0].content) == {"document": {"name": "a"}}
    assert json.loads(asked[2].content) == {"plan": "pln_1", "name": "b"}


def test_a_server_that_is_away_is_asked_six_times() -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no", request=request)

    lab, waited = client(away)
    with pytest.raises(ServerFailed, match="does not answer"):
        lab.status()
    assert waited == [0.5, 1.0, 2.0, 4.0, 8.0]
    lab.close()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, NotFound), (409, Refused), (422, Refused), (401, Refused), (403, Refused), (507, StorageFull),
     (500, ServerFailed)],
)  # fmt: skip
def test_problems_are_errors_of_the_house(status: int, kind: type[Exception]) -> None:
    problem = {"title": "t", "status": status, "detail": "what \x1b[31m is wrong"}
    handler, _ = answers(httpx.Response(status, json=problem, headers={"X-Request-Id": "0123456789abcdef"}))
    with client(handler)[0] as lab, pytest.raises(kind, match="is wrong") as caught:
        lab.run("run_1")
    assert "\x1b" not in str(caught.value)
    assert ("0123456789abcdef" in str(caught.value)) == (status >= 500)


def test_lists_are_followed_page_by_page() -> None:
    handler, asked = answers(
        httpx.Response(200, json={"items": [RUN, RUN | {"id": "run_2"}], "next": "c1"}),
        httpx.Response(200, json={"items": [RUN | {"id": "run_3"}], "next": None}),
    )
    with client(handler)[0] as lab:
        assert [run.id for run in lab.runs(state="done")] == ["run_1", "run_2", "run_3"]
    assert dict(asked[1].url.params) == {"state": "done", "limit": "100", "cursor": "c1"}


def test_waiting_tells_how_it_stands_until_the_end() -> None:
    running = RUN | {"state": "running", "progress": {"stage": "attacks", "done": 3, "total": 10, "left": 12.5}}
    handler, _ = answers(httpx.Response(200, json=running), httpx.Response(200, json=RUN))
    seen: list[tuple[str, float | None]] = []
    lab, waited = client(handler)
    assert lab.wait("run_1", lambda now: seen.append((now.state, now.progress.left))).state == "done"
    assert seen == [("running", 12.5), ("done", None)] and waited == [2.0]
    lab.close()


def test_a_download_that_breaks_leaves_nothing_and_is_tried_again(tmp_path: Path) -> None:
    class Broken(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            yield b"half"
            raise httpx.ReadError("gone")

    handler, _ = answers(httpx.Response(200, stream=Broken()), httpx.Response(200, content=b"whole"))
    lab, waited = client(handler)
    target = lab.report("run_1", tmp_path / "a" / "report.html")
    assert target.read_bytes() == b"whole" and len(waited) == 1
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]
    lab.close()


def test_a_refused_download_leaves_an_older_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("older")
    handler, _ = answers(httpx.Response(404, json={"detail": "no report"}))
    with client(handler)[0] as lab, pytest.raises(NotFound):
        lab.report("run_1", tmp_path / "a")
    assert (tmp_path / "a").read_text() == "older"


@pytest.mark.parametrize("name", ["../admin", "a/b", "", "a?b", "a b", "%2e"])
def test_a_name_cannot_lead_elsewhere(name: str) -> None:
    handler, asked = answers()
    with client(handler)[0] as lab, pytest.raises(BadInput, match="name"):
        lab.run(name)
    assert not asked


def test_uploads_do_not_say_what_a_file_is_called(tmp_path: Path) -> None:
    (tmp_path / "DOE^JANE.png").write_bytes(b"image")
    handler, asked = answers(httpx.Response(503), httpx.Response(200, json={"verdict": "clear"}))
    with client(handler)[0] as lab:
        lab.screen(tmp_path / "DOE^JANE.png", "mdl_1")
    assert all(b"DOE" not in request.content and b"image" in request.content for request in asked) and len(asked) == 2


def test_an_upload_that_cannot_be_used_says_why() -> None:
    thing = {"id": "mdl_1", "state": "importing"}
    handler, _ = answers(httpx.Response(200, json=thing | {"state": "failed", "error": "NaN weights"}))
    lab, _ = client(handler)
    with pytest.raises(BadInput, match="NaN weights"):
        lab.wait_ready(lab_thing(thing))
    lab.close()


def lab_thing(told: dict[str, Any]) -> Any:
    from radproof.client import Thing

    return Thing.model_validate(told)


def test_an_answer_that_is_not_json_is_no_radproof_server() -> None:
    handler, _ = answers(httpx.Response(200, text="<html>"))
    with client(handler)[0] as lab, pytest.raises(ServerFailed, match="address"):
        lab.status()


def test_a_folder_is_sent_as_the_same_zip_every_time_without_links(tmp_path: Path) -> None:
    root = tmp_path / "set"
    (root / "Normal").mkdir(parents=True)
    (root / "Normal" / "a.png").write_bytes(b"a" * 100)
    (root / "labels.csv").write_text("x")
    (root / "link.png").symlink_to("/etc/passwd")
    (root / ".hidden").write_text("no")
    found: list[bytes] = []
    for _ in range(2):
        with packed(root) as file:
            found.append(file.read_bytes())
            with zipfile.ZipFile(file) as archive:
                assert archive.namelist() == ["Normal/a.png", "labels.csv"]
    assert found[0] == found[1] and not file.exists()


def test_a_model_folder_is_its_weights_and_its_card(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="holds no"):
        packed_model(tmp_path, None)
    for name in ("card.yaml", "weights.safetensors"):
        (tmp_path / name).write_text("x")
    assert packed_model(tmp_path, None) == (tmp_path / "weights.safetensors", tmp_path / "card.yaml")
    (tmp_path / "net.onnx").write_text("x")
    (tmp_path / "net.card.yaml").write_text("x")
    assert packed_model(tmp_path / "net.onnx", None) == (tmp_path / "net.onnx", tmp_path / "net.card.yaml")


def test_a_key_with_line_ends_is_refused() -> None:
    with pytest.raises(BadInput, match="API key"):
        Transport("https://lab.example", "a\r\nX-Other: b")
