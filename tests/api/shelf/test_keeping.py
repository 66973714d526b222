# SPDX-License-Identifier: Apache-2.0
"""Models, data sets and guards over the API: roles, other people's ids, names, removal, and words that are hostile."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from sqlalchemy import select
from tests.api.conftest import House, Person

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller
from radproof.api.service import Service
from radproof.api.shelf import keeping
from radproof.jobs.ending import end
from radproof.jobs.importing import KINDS
from radproof.jobs.kinds import Outcome
from radproof.jobs.threads import threads_of
from radproof.store.ids import new_id
from radproof.store.incoming import Staged
from radproof.store.tables import DataSet, Event, File, GuardFile, Job, Model, Run, SavedPlan

T = TypeVar("T")
XSS = "<script>alert(1)</script>"
FACTS = {
    "file": "model.onnx", "needs": "", "fingerprint": "f" * 64, "card": {"name": XSS, "labels": [XSS, "b"]},
    "labels": [XSS, "b"], "parameters": 5, "seconds": {"forward": 0.1, "gradient": None}, "notes": [XSS],
}  # fmt: skip


def caller(person: Person) -> Caller:
    return Caller(person.id, "x", "developer", (person.project,), person.project)


def queued(make: Callable[..., T], service: Service, *given: Any, **told: Any) -> T:
    """One thing made, its job queued, in a transaction of its own."""
    with service.submitting() as session:
        return make(session, service, *given, **told)


@contextmanager
def staged(house: House, data: bytes) -> Iterator[Staged]:
    with house.service.files.incoming(most=10**6) as one:
        one.write(data)
        yield one.finish(".zip")


def ready(house: House, person: Person) -> tuple[str, str]:
    """A model and a data set whose imports went well."""
    with staged(house, b"model") as file:
        model = queued(keeping.make_model, house.service, caller(person), file, name="m").id
    with staged(house, b"data") as file:
        data = queued(keeping.make_data, house.service, caller(person), file, name="d").id
    with house.service.database.writing() as session:
        for subject, facts in ((model, FACTS), (data, {"labels": [XSS], "bytes": 7, "images": 1})):
            job = session.execute(select(Job).where(Job.subject_id == subject)).scalar_one()
            job.state = "done"
            KINDS[job.kind].finish(session, job, house.service.settings, Outcome(0, json.dumps(facts)))
    return model, data


def get(person: Person, path: str) -> Any:
    answer = person.client.get(f"/api/v1{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_is_on_the_shelf_is_told(house: House) -> None:
    who = house.person()
    model, data = ready(house, who)
    found = get(who, f"/models/{model}")
    assert (found["state"], found["facts"]["parameters"], found["job"]["state"]) == ("ready", 5, "done")
    assert found["project"] == who.project and found["fingerprint"] == "f" * 64
    assert get(who, f"/data/{data}")["facts"]["images"] == 1
    assert [one["id"] for one in get(who, "/models")["items"]] == [model]
    assert [one["id"] for one in get(who, "/data?limit=1")["items"]] == [data]
    again = who.client.get(f"/api/v1/models/{model}")
    assert (
        who.client.get(f"/api/v1/models/{model}", headers={"If-None-Match": again.headers["etag"]}).status_code == 304
    )


def test_stored_xss_stays_json(house: House) -> None:
    """Class names, card and model name are given back as they are, as JSON that no browser reads as a page."""
    who = house.person()
    model, data = ready(house, who)
    assert who.client.patch(f"/api/v1/models/{model}", json={"name": XSS}).status_code == 200
    for path in (f"/models/{model}", f"/data/{data}", "/models", "/data"):
        answer = who.client.get(f"/api/v1{path}")
        assert answer.headers["content-type"] == "application/json" and XSS in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_other_people_s_ids_are_not_there(house: House) -> None:
    who, stranger = house.person(), house.person("admin", project="other")
    model, data = ready(house, who)
    theirs, images = ready(house, stranger)
    guard = queued(keeping.make_guard, house.service, caller(who), model, data=data).id
    asked = [
        ("GET", f"/models/{model}", None),
        ("PATCH", f"/models/{model}", {"name": "x"}),
        ("DELETE", f"/models/{model}", None),
        ("GET", f"/models/{model}/guards", None),
        ("POST", f"/models/{model}/guards", {"data": images}),
        ("POST", f"/models/{theirs}/guards", {"data": data}),
        ("POST", f"/models/{theirs}/check", {"data": data}),
        ("GET", f"/models/{model}/guards/{guard}", None),
        ("GET", f"/models/{theirs}/guards/{guard}", None),
        ("DELETE", f"/models/{theirs}/guards/{guard}", None),
        ("GET", f"/data/{data}", None),
        ("PATCH", f"/data/{data}", {"name": "x"}),
        ("DELETE", f"/data/{data}", None),
        ("GET", f"/models?project={who.project}", None),
        ("GET", "/models/..%2f..%2fetc", None),
        ("GET", f"/models/{data}", None),
    ]
    for method, path, body in asked:
        answer = stranger.client.request(method, f"/api/v1{path}", json=body)
        assert answer.status_code == 404, (method, path, answer.text)
    assert who.client.get(f"/api/v1/models/{model}").json()["name"] == "m"


def test_viewers_read_and_change_nothing(house: House) -> None:
    model, data = ready(house, house.person())
    viewer = house.person("viewer")
    assert get(viewer, f"/models/{model}")["id"] == model
    for method, path, body in (
        ("PATCH", f"/models/{model}", {"name": "x"}),
        ("DELETE", f"/data/{data}", None),
        ("POST", f"/models/{model}/guards", {"data": data}),
        ("POST", f"/models/{model}/check", {"data": data}),
    ):
        assert viewer.client.request(method, f"/api/v1{path}", json=body).status_code == 403


@pytest.mark.parametrize("name", ["", "   ", "x" * 121, "a\nb", "a\u202eb", "a\x1b[0m"])
def test_names_are_printable_and_short(house: House, name: str) -> None:
    who = house.person()
    model, _ = ready(house, who)
    assert who.client.patch(f"/api/v1/models/{model}", json={"name": name}).status_code == 422
    assert get(who, f"/models/{model}")["name"] == "m"


def test_removal_takes_row_folder_and_bytes_and_is_told_in_the_trail(house: House) -> None:
    who = house.person()
    model, data = ready(house, who)
    folder = house.service.settings.folder("models", model)
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"x")
    assert who.client.delete(f"/api/v1/models/{model}").status_code == 204
    assert who.client.delete(f"/api/v1/data/{data}").status_code == 204
    assert who.client.get(f"/api/v1/models/{model}").status_code == 404
    assert not folder.exists()
    assert [path for path in house.service.settings.folder("blobs").rglob("*") if path.is_file()] == []
    with house.service.database.reading() as session:
        assert session.execute(select(File)).scalars().all() == []
        actions = session.execute(select(Event.action)).scalars().all()
    assert actions == ["model.upload", "data.upload", "model.remove", "data.remove"]


def test_what_a_run_is_about_is_not_removed(house: House) -> None:
    who = house.person()
    model, data = ready(house, who)
    with house.service.database.writing() as session:
        plan = SavedPlan(id=new_id("pln"), project_id=who.project, name="p", digest="")
        session.add(plan)
        session.flush()
        run = Run(id=new_id("run"), project_id=who.project, name="r", plan_id=plan.id, model_id=model, data_id=data)
        session.add(run)
    for state, word in (("running", "unfinished"), ("done", "finished")):
        with house.service.database.writing() as session:
            session.get_one(Run, run.id).state = state
        for path in (f"/models/{model}", f"/data/{data}"):
            answer = who.client.delete(f"/api/v1{path}")
            assert answer.status_code == 409 and word in answer.json()["detail"]
    with house.service.database.reading() as session:
        assert session.get(Model, model) and session.get(DataSet, data)


def test_jobs_of_what_is_removed_go_with_it_and_one_that_is_at_work_at_its_end(house: House) -> None:
    who, service = house.person(), house.service
    for state in ("queued", "done", "running"):
        with staged(house, state.encode()) as file:
            model = queued(keeping.make_model, service, caller(who), file).id
        with service.database.writing() as session:
            job = session.execute(select(Job).where(Job.subject_id == model)).scalar_one()
            job.state, job.worker = state, "w"
        assert threads_of(service.settings, job.id)
        assert who.client.delete(f"/api/v1/models/{model}").status_code == 204
        if state == "running":
            with service.database.reading() as session:
                assert session.get_one(Job, job.id).state == "cancelling"
            assert end(service.database, service.settings, "w", job.id, 1, Outcome(130), stopped=True) == "cancelled"
        with service.database.reading() as session:
            assert session.get(Job, job.id) is None
    assert list(service.settings.folder("plans").iterdir()) == []


def test_guards_and_checks_are_begun_for_what_is_ready(house: House) -> None:
    who = house.person()
    model, data = ready(house, who)
    with staged(house, b"another") as file:
        raw = queued(keeping.make_data, house.service, caller(who), file).id
    assert who.client.post(f"/api/v1/models/{model}/guards", json={"data": raw}).status_code == 409
    answer = who.client.post(f"/api/v1/models/{model}/check", json={"data": data})
    assert answer.status_code == 202 and answer.json()["job"]["kind"] == "check"
    assert who.client.post(f"/api/v1/models/{model}/check", json={"data": data}).status_code == 409
    with house.service.database.writing() as session:
        session.execute(select(Job).where(Job.kind == "check")).scalar_one().state = "done"
    for wrong in ({"rate": 2}, {"rate": 0.5}, {"detector": "../x"}, {"detector": "nonsense"}, {"out": "/etc"}):
        assert who.client.post(f"/api/v1/models/{model}/guards", json={"data": data, **wrong}).status_code == 422
    for wrong in ({"rate": "50"}, {"rate": "nan"}, {"rate": "x"}, {"detector": "nonsense"}):
        assert who.client.post(f"/models/{model}/guards", data={"data": data, **wrong}).status_code == 422
    made = who.client.post(f"/api/v1/models/{model}/guards", json={"data": data, "rate": 0.1})
    assert made.status_code == 201 and made.json()["state"] == "teaching"
    assert made.headers["location"] == f"/api/v1/models/{model}/guards/{made.json()['id']}"
    assert [one["id"] for one in get(who, f"/models/{model}/guards")["items"]] == [made.json()["id"]]
    assert who.client.delete(f"/api/v1/models/{model}/guards/{made.json()['id']}").status_code == 204
    with house.service.database.reading() as session:
        assert session.execute(select(GuardFile)).scalars().all() == []


def test_what_has_changed_since_it_was_read_is_not_removed(house: House) -> None:
    who = house.person()
    model, data = ready(house, who)
    guard = who.client.post(f"/api/v1/models/{model}/guards", json={"data": data}).json()["id"]
    for at in (f"/models/{model}/guards/{guard}", f"/models/{model}", f"/data/{data}"):
        address = f"/api/v1{at}"
        tag = who.client.get(address).headers["etag"]
        assert who.client.delete(address, headers={"If-Match": '"old"'}).status_code == 412
        assert who.client.delete(address, headers={"If-Match": tag}).status_code == 204


@pytest.mark.parametrize(
    ("path", "called"),
    [("readers", "reader test"), ("plans", "plan"), ("data", "data set"), ("models", "model"), ("runs", "run")],
)
def test_what_is_not_there_is_called_as_people_call_it(house: House, path: str, called: str) -> None:
    told = house.person().client.get(f"/api/v1/{path}/{new_id('run')}")
    assert (told.status_code, told.json()["detail"]) == (404, f"no {called} of that name in your projects")


def test_a_file_that_was_swept_meanwhile_is_kept_again(house: House) -> None:
    """Two uploads of the same bytes, one of which is removed between the other's arrival and its row."""
    who = house.person()
    with staged(house, b"same") as first, staged(house, b"same") as second:
        model = queued(keeping.make_model, house.service, caller(who), first).id
        keeping.remove_model(house.service, caller(who), model)
        assert not house.service.files.has(second.sha256)
        queued(keeping.make_model, house.service, caller(who), replace(second, suffix=""))
    assert house.service.files.local(second.sha256).read_bytes() == b"same"
    with pytest.raises(Problem):
        keeping.remove_model(house.service, caller(house.person(project="other")), model)
