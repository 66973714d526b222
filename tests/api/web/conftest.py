# SPDX-License-Identifier: Apache-2.0
"""A project with everything in it, all of it with names that would be scripts if they were not escaped."""

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from tests.api.conftest import House, Person, made_app

from radproof.api.front.around import COOKIE
from radproof.store.ids import new_id
from radproof.store.tables import DataSet, GuardFile, Job, Model, Run, SavedPlan, now

HOSTILE = "<script>alert(1)</script>\"' onload=x <img src=x onerror=y> javascript:z {{ 7*7 }}"


@dataclass(frozen=True)
class Full:
    """Ids of what lies in the project "ours"."""

    model: str
    importing: str
    failed: str
    unchecked: str
    data: str
    done: str
    earlier: str
    running: str
    paused: str
    stopped: str
    guard: str


def estimate(value: float) -> dict[str, Any]:
    """A figure with its interval."""
    return {"value": value, "low": max(0.0, value - 0.1), "high": min(1.0, value + 0.1), "n": 40}


def summary(worst: float, serious: int) -> dict[str, Any]:
    """As jobs.summary tells of a finished run."""
    parts = [("robust_small", "B", 0.7), ("robust_large", "D", worst), ("calibration", "", None)]
    return {
        "title": HOSTILE,
        "verdict": HOSTILE,
        "phantom": True,
        "images": 40,
        "labels": ["Normal", HOSTILE],
        "accuracy": estimate(0.9),
        "robust": [
            {"defense": "none", "goal": "misclassify", "eps": 4 / 255, "budget": "4/255", "accuracy": estimate(worst)},
            {"defense": "none", "goal": "misclassify", "eps": 1 / 255, "budget": "1/255", "accuracy": estimate(0.8)},
            {"defense": "jpeg", "goal": "misclassify", "eps": 4 / 255, "budget": "4/255", "accuracy": estimate(0.01)},
            {"defense": "none", "goal": "misclassify", "eps": 8 / 255, "budget": "8/255", "accuracy": None},
        ],
        "score": [
            {
                "contender": "none",
                "grade": "D",
                "reason": HOSTILE,
                "components": [
                    {
                        "name": name,
                        "at": HOSTILE,
                        "grade": grade or None,
                        "bound": bound,
                        "estimate": None if bound is None else estimate(bound),
                    }
                    for name, grade, bound in parts
                ],
            }
        ],
        "doubts": {"serious": serious, "note": 1},
        "gates": [],
        "seconds": 12.0,
    }


@pytest.fixture
def full(house: House) -> Full:
    """The same people's project, with models, data and runs in every state."""
    return fill(house, house.person("developer").project)


def fill(house: House, project: str) -> Full:
    """Put them there."""
    ids = Full(*(new_id("mdl") for _ in range(4)), new_id("dat"), *(new_id("run") for _ in range(5)), new_id("grd"))
    facts = {"card": {"labels": ["Normal", HOSTILE], "note": HOSTILE, HOSTILE: 1}, "seconds_per_gradient": 0.01}
    images = {
        "kind": "manifest", "source": "folder", "labels": ["Normal", HOSTILE], "head": "softmax", "images": 60,
        "patients": 30, "patients_known": False, "phantom": False,
        "folds": {"test": {"images": 20, "patients": 10, "classes": {"Normal": 10, HOSTILE: 10}}},
        "grids": [{"height": 64, "width": 64, "channels": 1, "levels": 256, "images": 60}],
        "views": {HOSTILE: 3}, "left_out": {HOSTILE: 2}, "excluded_count": 1,
        "excluded": [{"index": 7, "sha256": "ab" * 8, "reason": HOSTILE}],
        "audit": {
            "failed": True, "lines": [HOSTILE],
            "shortcuts": [{"name": "thumbnail", "auroc": estimate(0.8), "accuracy": estimate(0.6)}],
        },
        "fingerprint": "f" * 64,
    }  # fmt: skip
    own: dict[str, Any] = {"project_id": project}
    places = {"model": f"models/{ids.model}/model.onnx", "data": f"data/{ids.data}"}
    for place in places.values():
        (house.service.settings.home / place).mkdir(parents=True)
    with house.service.database.writing() as session:
        session.add(Model(id=ids.model, name=HOSTILE, state="ready", facts=facts, path=places["model"], **own))
        session.add(Model(id=ids.importing, name="new", state="importing", **own))
        session.add(Model(id=ids.failed, name="bad", state="failed", error=HOSTILE, **own))
        session.add(Model(id=ids.unchecked, name="odd", state="unchecked", **own))
        session.add(DataSet(id=ids.data, name=HOSTILE, state="ready", facts=images, path=places["data"], **own))
        plan = SavedPlan(id=new_id("pln"), name=HOSTILE, document={"title": HOSTILE}, digest="0" * 64, **own)
        session.add(plan)
        session.flush()
        told = {"detector": "drift", "rate": 0.05}
        session.add(
            GuardFile(id=ids.guard, model_id=ids.model, data_id=ids.data, state="ready", told=told, facts=facts, **own)
        )
        states = {ids.earlier: "done", ids.done: "done", ids.running: "running", ids.paused: "paused"}
        for name, state in {**states, ids.stopped: "failed"}.items():
            about = summary(0.3 if name == ids.earlier else 0.2, 2) if state == "done" else {}
            session.add(
                Run(
                    id=name,
                    name=HOSTILE,
                    plan_id=plan.id,
                    model_id=ids.model,
                    data_id=ids.data,
                    state=state,
                    summary=about,
                    finished=now() if about else None,
                    **own,
                )
            )
            session.flush()
            progress = {"stage": HOSTILE, "done": 3, "total": 4, "share": 0.75, "left": 130.0, "note": HOSTILE}
            progress |= {"left_low": 80.0, "left_high": 250.0, "stage_share": 0.5}
            session.add(
                Job(
                    id=new_id("job"),
                    kind="assess",
                    subject_id=name,
                    state=state,
                    progress=progress,
                    error=HOSTILE if state == "failed" else "",
                    **own,
                )
            )
    return ids


@pytest.fixture
def pages(full: Full) -> Callable[[], list[str]]:
    """Addresses of this room's pages of a full project."""
    return lambda: [
        "/", "/models", "/models/new", f"/models/{full.model}", f"/models/{full.importing}", f"/models/{full.failed}",
        f"/models/{full.unchecked}", "/data", "/data/new", f"/data/{full.data}", "/assess", "/runs",
        f"/runs/{full.running}", f"/runs/{full.paused}", f"/runs/{full.stopped}", "/nothing-here",
    ]  # fmt: skip


@pytest.fixture
def opened(house: House, chromium: Any) -> Iterator[Callable[..., Any]]:
    """opened(person, path, scripts=True, width=1280) is a page; they leave when the test ends.

    With `clock` its time can be put forward: page.clock.fast_forward("10").
    """
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    address = f"http://localhost:{held.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(made_app(house.service), log_level="error", ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [held]})
    thread.start()
    complaints: list[str] = []
    contexts: list[Any] = []

    def open_page(person: Person, path: str, *, scripts: bool = True, width: int = 1280, clock: bool = False) -> Any:
        context = chromium.new_context(java_script_enabled=scripts, viewport={"width": width, "height": 900})
        contexts.append(context)
        context.add_cookies([{"name": COOKIE, "value": person.client.cookies[COOKIE], "url": address}])
        page = context.new_page()
        if clock:
            page.clock.install()
        page.on("console", lambda told: complaints.append(told.text) if told.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    server.should_exit = True
    thread.join(20)
    held.close()
    assert complaints == []
