# SPDX-License-Identifier: Apache-2.0
"""A plan of this machine on a server: what is sent, what is fetched, and how it ends."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from radproof.cli import main, remote
from radproof.cli.remote_assess import take
from radproof.cli.remote_plan import replaced
from radproof.client import Client, Run
from radproof.core.progress import Silent
from radproof.errors import BadPlan

Handler = Callable[[httpx.Request], httpx.Response]
RESULT = {"verdict": "Withstands nothing.", "doubts": [{"message": "few images"}], "gates": []}


class Fake:
    """A server that knows one run, and takes uploads."""

    def __init__(self, state: str = "done", gates: list[dict[str, str]] | None = None, error: str = "") -> None:
        self.state, self.gates, self.error = state, gates or [], error
        self.asked: list[tuple[str, str, bytes]] = []
        self.kept: dict[str, list[dict[str, str]]] = {"/models": [], "/data": []}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1")
        self.asked.append((request.method, path, request.read()))
        if request.method == "POST" and path in ("/models", "/data"):
            name = re.findall(rb'name="name"\r\n\r\n(.*?)\r\n', self.asked[-1][2])[0].decode()
            made = {"id": f"{'mdl' if path == '/models' else 'dat'}_1", "name": name}
            self.kept[path].append(made | {"state": "ready"})
            return httpx.Response(201, json=made | {"state": "importing"})
        if path in ("/models", "/data"):
            return httpx.Response(200, json={"items": self.kept[path], "next": None})
        if path.startswith(("/models/", "/data/")):
            return httpx.Response(200, json={"id": path.rsplit("/", 1)[1], "state": "ready"})
        if path in ("/runs", "/runs/run_1"):
            states = {"POST": "queued", "GET": self.state}
            summary = {"gates": self.gates}
            told = {"id": "run_1", "state": states[request.method], "error": self.error, "summary": summary}
            return httpx.Response(200, json=told)
        if path == "/account":
            return httpx.Response(200, json={"project": None, "projects": [{"id": "prj_1", "name": "Chest"}]})
        if path == "/screening":
            return httpx.Response(422, json={"detail": "not an image"})
        if path == "/runs/run_1/result":
            return httpx.Response(200, json={**RESULT, "gates": self.gates})
        if path == "/runs/run_1/images":
            items = [{"id": "a", "kinds": ["attacked"]}, {"id": "b", "kinds": []}]
            return httpx.Response(200, json={"items": items, "next": None})
        return httpx.Response(200, content=path.encode())

    def sent(self, path: str) -> bytes:
        return next(body for method, where, body in self.asked if method == "POST" and where == path)


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command line against a fake server; its exit code."""

    def run(server: Fake, *arguments: str) -> int:
        @contextmanager
        def connected(url: str, allow_http: bool = False) -> Iterator[Client]:
            with Client(url, "k", sleep=lambda _: None, transport=httpx.MockTransport(server)) as client:
                yield client

        monkeypatch.setattr(remote, "connected", connected)
        monkeypatch.setattr(sys, "argv", ["radproof", *arguments])
        try:
            main()
        except SystemExit as error:
            return int(error.code or 0)
        return 0

    return run


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    for name in ("card.yaml", "weights.safetensors"):
        (tmp_path / "model" / name).write_text("x")
    (tmp_path / "set" / "Normal").mkdir(parents=True)
    (tmp_path / "set" / "Normal" / "DOE_JANE.png").write_text("image")
    told = {
        "name": "mine", "attacks": ["pgd"], "budgets": ["1/255"], "model": {"path": "model"},
        "data": {"kind": "folder", "path": "set", "images": 5, "classes": ["Normal", "Pneumonia"]},
    }  # fmt: skip
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(told))
    return tmp_path / "plan.yaml"


def assess(on: Callable[..., int], server: Fake, plan: Path, *more: str) -> int:
    return on(server, "assess", str(plan), "--server", "https://lab.example", "--out", str(plan.parent / "out"), *more)


def test_a_plan_is_sent_with_what_it_names_and_what_came_of_it_is_fetched(
    on: Callable[..., int], plan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Fake()
    assert assess(on, server, plan) == 0
    document = json.loads(server.sent("/runs"))["document"]
    assert document["model"] == {"id": "mdl_1"} and document["data"] == {"id": "dat_1", "images": 5}
    assert b"Normal,Pneumonia" in server.sent("/data") and b"weights" not in server.sent("/runs")
    out = plan.parent / "out"
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert found == ["images/a.png", "remote.json", "report.html", "result.json", "rows.csv", "summary.md"]
    said = capsys.readouterr()
    assert RESULT["verdict"] in said.out and "Doubt: few images" in said.out and "run_1 is done" in said.err


def test_only_attacked_images_count_towards_the_most_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    notes: list[str] = []

    class Said(Silent):
        def note(self, message: str) -> None:
            notes.append(message)

    def many(request: httpx.Request) -> httpx.Response:
        kinds = {"a": [], "b": ["attacked"], "c": ["attacked"], "d": ["attacked"]}
        items = [{"id": name, "kinds": told} for name, told in kinds.items()]
        listed = request.url.path.endswith("/images")
        return httpx.Response(200, json={"items": items, "next": None} if listed else {})

    with Client("https://lab.example", "k", transport=httpx.MockTransport(many)) as client:
        take(client, Run(id="run_1", state="done"), tmp_path, {}, images=2, progress=Said())
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["b.png", "c.png"]
    assert notes[0].startswith("2 of 3 attacked images are fetched") and "--images 3" in notes[0]


def test_what_was_sent_before_is_not_sent_again_unless_it_has_changed(on: Callable[..., int], plan: Path) -> None:
    server = Fake()
    for change, uploads in ((None, 2), (None, 2), ("model/card.yaml", 3), ("set/Normal/DOE_JANE.png", 4)):
        if change:
            (plan.parent / change).write_text("changed")
        assert assess(on, server, plan) == 0
        assert sum(method == "POST" and path in ("/models", "/data") for method, path, _ in server.asked) == uploads


def test_names_of_the_server_and_drawn_images_are_sent_as_they_are(on: Callable[..., int], plan: Path) -> None:
    told = yaml.safe_load(plan.read_text()) | {"model": {"id": "mdl_9"}, "data": {"kind": "phantom", "count": 60}}
    plan.write_text(yaml.safe_dump(told))
    server = Fake()
    assert assess(on, server, plan) == 0
    assert not any(path in ("/models", "/data") for _, path, _ in server.asked)
    assert json.loads(server.sent("/runs"))["document"]["data"] == {"kind": "phantom", "count": 60}


def test_a_plan_that_trains_is_refused_before_anything_is_sent(
    on: Callable[..., int], plan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan.write_text(yaml.safe_dump(yaml.safe_load(plan.read_text()) | {"model": {"train": {}}}))
    server = Fake()
    assert assess(on, server, plan) == 2 and not server.asked
    assert "radproof train" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("server", "code"),
    [
        (Fake("failed", error="no image could be read"), 2),
        (Fake("cancelled"), 130),
        (Fake(gates=[{"sentence": "clean_accuracy >= 0.9", "verdict": "failed"}]), 1),
        (Fake(gates=[{"sentence": "clean_accuracy >= 0.9", "verdict": "not established"}]), 1),
        (Fake(gates=[{"sentence": "clean_accuracy >= 0.9", "verdict": "passed"}]), 0),
    ],
)
def test_exit_codes_are_those_of_a_run_on_this_machine(
    on: Callable[..., int], plan: Path, server: Fake, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assess(on, server, plan) == code
    assert server.error in capsys.readouterr().err


def test_a_server_needs_a_plan(on: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert on(Fake(), "assess", "--server", "https://lab.example") == 2
    assert "PLAN.yaml" in capsys.readouterr().err


def test_lists_and_screening(on: Callable[..., int], plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = Fake()
    assert on(server, "remote", "models", "--server", "https://lab.example", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    image = next((plan.parent / "set").rglob("*.png"))
    assert on(server, "remote", "screen", str(image), "--model", "mdl_1", "--server", "https://lab.example") == 2
    assert json.loads(capsys.readouterr().out) == {"name": "DOE_JANE.png", "refusal": "not an image"}


def test_without_a_server_it_says_how_to_name_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RADPROOF_SERVER", raising=False)
    monkeypatch.setattr(sys, "argv", ["radproof", "remote", "status"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2 and "RADPROOF_SERVER" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({"attacks": ({"name": "patch", "mask": "x.png"},)}, "attacks.mask"),
        ({"training": {"url": "http://127.0.0.1"}}, "training.url"),
        ({"training": {"architecture": "hf-hub:a/b"}}, "training.architecture"),
    ],
)
def test_what_a_server_would_refuse_is_refused_before_anything_is_sent(section: dict[str, Any], named: str) -> None:
    document = {"model": {"id": "mdl_1"}, "data": {"id": "dat_1", "label_tag": "BodyPartExamined"}}
    assert replaced(document, Path(), _never, _never) == document
    with pytest.raises(BadPlan, match=rf"{named}: a server"):
        replaced({**document, **section}, Path(), _never, _never)


def _never(_: object) -> str:
    raise AssertionError("nothing is sent")
