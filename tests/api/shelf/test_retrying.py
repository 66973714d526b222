# SPDX-License-Identifier: Apache-2.0
"""Imports that failed, tried again without another upload: by whom, with what, how often, and under the quota."""

import hashlib
import json
from typing import Any

import pytest
from sqlalchemy import select
from tests.api.conftest import House, Person
from tests.api.shelf.test_keeping import caller, queued, staged

from radproof.api.shelf import keeping
from radproof.jobs.importing import KINDS
from radproof.jobs.kinds import Outcome
from radproof.jobs.states import move
from radproof.store.ids import new_id
from radproof.store.tables import DataSet, Event, File, Job

KIND = {"models": "model", "data": "data"}


def failed(house: House, who: Person, kind: str, **told: str) -> str:
    """One whose import failed."""
    make = keeping.make_model if kind == "models" else keeping.make_data
    with staged(house, b"upload") as file:
        name = queued(make, house.service, caller(who), file, told=told).id
    over(house, name, Outcome(2, error="why"))
    return name


def over(house: House, subject: str, outcome: Outcome) -> None:
    """Its job ends so."""
    with house.service.database.writing() as session:
        job = session.execute(select(Job).where(Job.subject_id == subject)).scalar_one()
        move(session, job, "take")
        move(session, job, "succeed" if outcome.code == 0 else "fail")
        KINDS[job.kind].finish(session, job, house.service.settings, outcome)


def arguments(house: House, subject: str) -> list[str]:
    with house.service.database.writing() as session:
        job = session.execute(select(Job).where(Job.subject_id == subject)).scalar_one()
        return KINDS[job.kind].prepare(session, job, house.service.settings, house.service.files)


def again(who: Person, kind: str, name: str, **body: Any) -> Any:
    return who.client.post(f"/api/v1/{kind}/{name}/retry", json=body)


@pytest.mark.parametrize("kind", ["models", "data"])
def test_a_failed_import_is_tried_again_once_on_the_upload_that_is_kept(house: House, kind: str) -> None:
    who = house.person()
    name = failed(house, who, kind)
    before = arguments(house, name)
    answer = again(who, kind, name)
    assert answer.status_code == 202 and answer.headers["location"] == f"/api/v1/{kind}/{name}"
    found = answer.json()
    assert (found["state"], found["error"], found["job"]["state"]) == ("importing", "", "queued")
    assert arguments(house, name) == before
    twice = again(who, kind, name)
    assert twice.status_code == 409 and "importing" in twice.json()["detail"]
    over(house, name, Outcome(0, json.dumps({"images": 3})))
    assert again(who, kind, name).status_code == 409
    with house.service.database.reading() as session:
        told = session.execute(select(Event.action, Event.detail)).all()
        assert len(session.execute(select(Job)).scalars().all()) == 1
    assert told[1:] == [(f"{KIND[kind]}.retry", {"attempt": 2})]


@pytest.mark.parametrize("kind", ["models", "data"])
def test_others_and_viewers_try_nothing_again(house: House, kind: str) -> None:
    name = failed(house, house.person(), kind)
    assert again(house.person("viewer"), kind, name).status_code == 403
    assert again(house.person("admin", project="other"), kind, name).status_code == 404


def test_another_architecture_and_card_replace_the_first(house: House) -> None:
    who = house.person()
    name = failed(house, who, "models", architecture="resnet18")
    assert again(who, "models", name, architecture="densenet121", card={"labels": ["a", "b"]}).status_code == 202
    told = arguments(house, name)
    assert "--architecture=densenet121" in told
    with open(told[told.index("--card") + 1]) as card:
        assert json.load(card) == {"labels": ["a", "b"]}
    over(house, name, Outcome(2, error="why"))
    assert again(who, "models", name, architecture="", card={"labels": ["c", "d"]}).status_code == 202
    assert not any(one.startswith("--architecture") for one in arguments(house, name))
    with house.service.database.reading() as session:
        sizes = [file.size for file in session.execute(select(File)).scalars()]
    assert sorted(sizes) == [6, 22]  # the first card went
    over(house, name, Outcome(2, error="why"))
    assert again(who, "models", name, file="x").status_code == 422
    assert again(who, "models", name, card={"a": "x" * 10**6}).status_code == 413
    assert who.client.delete(f"/api/v1/models/{name}").status_code == 204
    assert [path for path in house.service.settings.folder("blobs").rglob("*") if path.is_file()] == []


def test_what_was_said_of_images_is_kept_or_replaced(house: House) -> None:
    who = house.person()
    name = failed(house, who, "data", classes="a,b", strict="on")
    assert again(who, "data", name, strict=False, label_tag="BodyPartExamined").json()["told"] == {
        "classes": "a,b", "label_tag": "BodyPartExamined",
    }  # fmt: skip
    told = arguments(house, name)
    assert "--classes=a,b" in told and "--strict" not in told and "--label-tag=BodyPartExamined" in told


def test_an_upload_that_an_earlier_version_removed_has_to_be_sent_again(house: House) -> None:
    who = house.person()
    name = failed(house, who, "data")
    with house.service.database.writing() as session:
        house.service.files.forget(session, session.execute(select(File)).scalar_one())
    answer = again(who, "data", name)
    assert answer.status_code == 409 and "upload it again" in answer.json()["detail"]
    assert "Try it again" not in who.client.get(f"/data/{name}").text


def test_the_page_s_form_tries_again_with_a_card(house: House) -> None:
    who = house.person()
    name = failed(house, who, "models", architecture="resnet18")
    page = who.client.get(f"/models/{name}").text
    assert f'action="/models/{name}/retry"' in page and 'value="resnet18"' in page
    assert "Try it again" not in house.person("viewer").client.get(f"/models/{name}").text
    form = {
        "csrf_token": (None, who.csrf),
        "architecture": (None, "vgg16"),
        "card": ("mustermann.yaml", b"labels: [a]"),
    }
    answer = who.client.post(f"/models/{name}/retry", files=form, follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == f"/models/{name}?said=again"
    told = arguments(house, name)
    assert "--architecture=vgg16" in told and "--card" in told
    over(house, name, Outcome(2, error="why"))
    empty = {"csrf_token": (None, who.csrf), "architecture": (None, ""), "card": ("", b"")}
    assert who.client.post(f"/models/{name}/retry", files=empty, follow_redirects=False).status_code == 303
    assert "--card" in arguments(house, name) and "--architecture=vgg16" not in arguments(house, name)


def test_the_page_of_images_tries_again_with_what_its_form_says(house: House) -> None:
    who = house.person()
    name = failed(house, who, "data", classes="a,b", multi_label="on")
    assert f'action="/data/{name}/retry"' in who.client.get(f"/data/{name}").text
    form = {"csrf_token": (None, who.csrf), "classes": (None, "a,b,c"), "strict": (None, "yes")}
    answer = who.client.post(f"/data/{name}/retry", files=form, follow_redirects=False)
    assert answer.status_code == 303
    told = arguments(house, name)
    assert "--classes=a,b,c" in told and "--strict" in told and "--multi-label" not in told


def test_a_project_over_its_quota_tries_nothing_again(house: House) -> None:
    who = house.person()
    name = failed(house, who, "data")
    with house.service.database.writing() as session:
        session.add(DataSet(id=new_id("dat"), project_id=who.project, name="d", facts={"bytes": 10**14}))
    refused = again(who, "data", name)
    assert refused.status_code == 413 and "the project keeps" in refused.json()["detail"]
    with house.service.database.reading() as session:
        assert session.get_one(DataSet, name).state == "failed"


def test_the_trail_tells_what_a_second_try_changed_and_the_hash_of_what_was_sent(house: House) -> None:
    who = house.person()
    name = failed(house, who, "models", architecture="resnet18")
    assert again(who, "models", name, architecture="mustermann", card={"labels": ["a"]}).status_code == 202
    with house.service.database.reading() as session:
        told = session.execute(select(Event.detail).where(Event.action == "model.retry")).scalar_one()
    sent = json.dumps({"labels": ["a"]}).encode()
    assert told == {
        "attempt": 2, "changed": ["architecture", "card"],
        "sha256": hashlib.sha256(sent).hexdigest(), "bytes": len(sent),
    }  # fmt: skip
