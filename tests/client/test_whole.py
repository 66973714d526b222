# SPDX-License-Identifier: Apache-2.0
"""Every method of the client against the real application."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from tests.client.conftest import Lab

from radproof.client import Client, NotFound, Refused
from radproof.errors import BadInput
from radproof.store.tables import Job, Run

PLAN = {"name": "first", "attacks": ["pgd"], "budgets": ["1/255"]}


def document(lab: Lab) -> dict[str, Any]:
    return {**PLAN, "model": {"id": lab.seeds.model}, "data": {"kind": "phantom", "count": 60, "images": 8}}


def put(lab: Lab, run: str, state: str) -> None:
    """As a worker would."""
    with lab.house.service.database.writing() as session:
        session.execute(update(Job).where(Job.subject_id == run).values(state=state))
        session.execute(update(Run).where(Run.id == run).values(state=state))


def test_every_method_is_answered_and_keys_go_with_the_posts_that_take_them_and_with_no_other(
    lab: Lab, network: Path, images: Path, tmp_path: Path
) -> None:
    everything(lab, network, images, tmp_path)
    check_keys(lab)


def everything(lab: Lab, network: Path, images: Path, tmp_path: Path) -> None:
    """Call each method."""
    seeds, called = lab.seeds, set[str]()

    class Noted(Client):
        def __getattribute__(self, name: str) -> Any:
            called.add(name)
            return super().__getattribute__(name)

    with Noted("http://localhost", lab.key, sleep=lambda _: None, transport=lab.bridge) as client:
        assert client.status().worker is False and client.account()["id"] == lab.person.id
        assert client.project() == client.project("ours") == lab.person.project
        model = client.upload_model(network, name="Chest", architecture="resnet18", project=lab.person.project)
        data = client.upload_data(images, name="Images", project=lab.person.project, classes="Normal,Pneumonia")
        assert model.state == data.state == "importing" and model.project == lab.person.project
        assert {one.id for one in client.models()} == {model.id, seeds.model}
        assert {one.id for one in client.data_sets(lab.person.project)} == {data.id, seeds.data}
        assert client.rename_model(model.id, "Thorax").name == client.model(model.id).name == "Thorax"
        assert client.rename_data(data.id, "Others").name == client.data_set(data.id).name == "Others"
        assert client.wait_ready(client.model(seeds.model)).id == seeds.model
        guard = client.teach_guard(seeds.model, seeds.data)
        assert {one.id for one in client.guards(seeds.model)} == {guard.id, seeds.guard}
        ready = client.guard(seeds.model, seeds.guard)
        assert client.wait_ready(ready).state == "ready"
        assert client.presets() and client.estimate(document(lab))
        plan = client.save_plan(document(lab), name="Kept")
        assert client.plan(plan.id).document == document(lab) and plan.id in {one.id for one in client.plans()}
        run = client.start(plan.id, name="By plan")
        assert client.start(document(lab), priority=7).priority == 7
        assert client.prioritise(run.id, 3).priority == 3
        assert client.pause(run.id).state == "paused" == client.wait(run.id).state
        assert client.resume(run.id).state == "queued" and client.cancel(run.id).ended
        assert client.retry(run.id).state == "queued" and client.cancel(run.id).state == "cancelled"
        assert run.id in {one.id for one in client.runs(lab.person.project, state="cancelled")}
        assert client.run(seeds.run).state == "done" and client.result(seeds.run)["verdict"]
        for format in ("html", "json", "csv", "md", "junit.xml", "sarif"):
            assert client.report(seeds.run, tmp_path / f"report.{format}", format).stat().st_size
        found = [one for one in client.images(seeds.run) if "attacked" in one.kinds]
        assert client.image(seeds.run, found[0].id, outcome="fooled").image.id == found[0].id
        assert client.part("attack", "pgd").name in {one.name for one in client.parts()["attack"]}
        assert client.picture(seeds.run, found[0].id, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
        with pytest.raises(Refused, match=r"ready|file|guard|model"):
            client.screen(tmp_path / "a.png", seeds.model)  # whose files are not there
        with pytest.raises(Refused, match=r"ready|being"):
            client.check_model(model.id, seeds.data)  # which no worker opened
        client.remove_run(run.id)
        kept = client.save_plan({**document(lab), "seed": 9}, name="Not run")
        client.remove_plan(kept.id)
        client.remove_guard(seeds.model, seeds.guard)
        client.remove_data(data.id)
        client.remove_model(model.id)
        with pytest.raises(NotFound):
            client.model(model.id)
    every = inspect.getmembers(Client, inspect.isfunction)
    elsewhere = ("radproof.client.readers", "radproof.client.own")  # test_readers.py
    public = {name for name, one in every if not name.startswith("_") and one.__module__ not in elsewhere}
    assert public - called <= {"close", "retry_model", "retry_data"}
    sent = {(method, re.sub(r"[a-z]{3}_[0-9a-z]{10,}", "{id}", path)) for method, path, _, _ in lab.bridge.asked}
    assert ("POST", "/api/v1/models/{id}/guards") in sent


def check_keys(lab: Lab) -> None:
    """Of everything that was asked."""
    taking = {
        re.sub(r"\{\w+\}", "{}", path)
        for path, item in lab.person.client.get("/api/v1/openapi.json").json()["paths"].items()
        if any(one.get("name") == "Idempotency-Key" for one in item.get("post", {}).get("parameters", ()))
    }
    assert any("/runs" in path for path in taking)
    for method, path, headers, _ in lab.bridge.asked:
        plain = re.sub(r"[a-z]{3}_[0-9a-z]{10,}", "{}", path)
        takes = method == "POST" and (plain in taking or plain.removeprefix("/api/v1") in taking)
        assert ("idempotency-key" in headers) == takes, (method, plain)


@pytest.mark.parametrize(("word", "before", "after"), [
    ("cancel", "queued", "cancelled"), ("pause", "queued", "paused"), ("pause", "running", "pausing"),
    ("resume", "paused", "queued"), ("retry", "failed", "queued"), ("cancel", "running", "cancelling"),
])  # fmt: skip
def test_an_order_whose_answer_was_lost_is_obeyed_once_and_no_error(
    lab: Lab, word: str, before: str, after: str
) -> None:
    put(lab, lab.seeds.run, before)
    lab.bridge.lose.add(("POST", f"/api/v1/runs/{lab.seeds.run}/{word}"))
    with lab.client() as client:
        assert getattr(client, word)(lab.seeds.run).state == after
    assert [one[3] for one in lab.bridge.asked] == [200, 409, 200]


def test_an_order_that_makes_no_sense_is_refused_lost_or_not(lab: Lab) -> None:
    with lab.client() as client:
        with pytest.raises(Refused, match="done") as caught:
            client.pause(lab.seeds.run)
        assert caught.value.status == 409 and not caught.value.again
        lab.bridge.lose.add(("POST", f"/api/v1/runs/{lab.seeds.run}/retry"))
        with pytest.raises(Refused, match="done"):
            client.retry(lab.seeds.run)


def test_a_removal_whose_answer_was_lost_is_done(lab: Lab) -> None:
    lab.bridge.lose.add(("DELETE", f"/api/v1/runs/{lab.seeds.run}"))
    with lab.client() as client:
        client.remove_run(lab.seeds.run)
        assert [one[3] for one in lab.bridge.asked] == [204, 404]
        with pytest.raises(NotFound):
            client.remove_run(lab.seeds.run)


def test_a_start_whose_answer_was_lost_starts_one_run(lab: Lab) -> None:
    lab.bridge.lose.add(("POST", "/api/v1/runs"))
    with lab.client() as client:
        made = client.start(document(lab))
        assert [one.id for one in client.runs(state="queued")] == [made.id]


def test_whoever_has_two_projects_says_which(lab: Lab, network: Path) -> None:
    other = lab.also("other")
    with lab.client() as client:
        with pytest.raises(BadInput, match=r"say which project; yours: other, ours"):
            client.project()
        with pytest.raises(BadInput, match="no such project"):
            client.project("third")
        assert client.project("other") == client.project(other) == other
        assert client.upload_model(network, project=client.project("other")).project == other
