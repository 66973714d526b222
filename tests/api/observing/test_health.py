# SPDX-License-Identifier: Apache-2.0
"""Alive, ready and the figures: what the machines that watch a server are told."""

from collections import namedtuple
from datetime import timedelta
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient
from tests.api.conftest import House

from radproof.api.observing import health, logs
from radproof.api.serving.server import routes, site
from radproof.jobs import assessing, importing, kinds
from radproof.store import database
from radproof.store.ids import new_id
from radproof.store.tables import Job, Worker, now


def watcher(house: House, host: str = "127.0.0.1") -> TestClient:
    return TestClient(site(house.service), base_url="http://localhost", client=(host, 1))  # pyright: ignore


def add_worker(house: House, ago: float = 0.0) -> None:
    with house.service.database.writing() as session:
        session.merge(Worker(name="local", seen=now() - timedelta(seconds=ago)))


def test_alive_needs_nobody_and_nothing(house: House) -> None:
    answer = watcher(house).get("/healthz")
    assert (answer.status_code, answer.text) == (200, "alive\n")


def test_ready_when_a_worker_gave_a_sign(house: House) -> None:
    add_worker(house)
    assert watcher(house).get("/readyz").text == "ready\n"


def test_ready_is_found_anew_once_a_second_and_reads_no_migrations(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_worker(house)
    client, moment, asked = watcher(house), [1000.0], []
    monkeypatch.setattr(health, "time", SimpleNamespace(monotonic=lambda: moment[0]))
    house.service.database.ready()
    monkeypatch.setattr(database, "ScriptDirectory", None)
    real = health.not_ready
    monkeypatch.setattr(health, "not_ready", lambda service: asked.append(1) or real(service))
    assert {client.get("/readyz").text for _ in range(5)} == {"ready\n"} and len(asked) == 1
    add_worker(house, 61)
    moment[0] += 0.9
    assert client.get("/readyz").status_code == 200
    moment[0] += 0.2
    assert [client.get("/readyz").status_code for _ in range(3)] == [503] * 3 and len(asked) == 2


@pytest.mark.parametrize("ago", [None, 61.0])
def test_not_ready_without_a_worker_of_late(house: House, ago: float | None) -> None:
    if ago is not None:
        add_worker(house, ago)
    answer = watcher(house).get("/readyz")
    assert answer.status_code == 503 and "worker" in answer.text


def test_not_ready_when_the_disk_is_full(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    add_worker(house)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: usage(10, 10, 0))
    answer = watcher(house).get("/readyz")
    assert answer.status_code == 503 and "1 GB" in answer.text


def test_not_ready_when_the_database_has_another_schema(house: House) -> None:
    add_worker(house)
    with house.service.database.engine.begin() as connection:
        connection.exec_driver_sql("update alembic_version set version_num = '9999'")
    answer = watcher(house).get("/readyz")
    assert (
        answer.status_code == 503 and "database" in answer.text and str(house.service.settings.home) not in answer.text
    )


def test_figures_are_for_this_machine_and_for_administrators(house: House) -> None:
    assert watcher(house).get("/metrics").status_code == 200
    assert watcher(house, "10.0.0.7").get("/metrics").status_code == 401
    assert watcher(house).get("/metrics", headers={"X-Forwarded-For": "10.0.0.7"}).status_code == 401
    admin, viewer = house.person("admin"), house.person("viewer")
    for person, status in ((admin, 200), (viewer, 403)):
        client = watcher(house, "10.0.0.7")
        client.cookies.update(person.client.cookies)
        assert client.get("/metrics").status_code == status


def test_figures_of_jobs_hold_states_and_no_names(house: House) -> None:
    person = house.person()
    job = new_id("job")
    with house.service.database.writing() as session:
        session.add(Job(id=job, kind="assess", subject_id=new_id("run"), project_id=person.project,
                        created=now() - timedelta(seconds=100)))  # fmt: skip
    add_worker(house, 5)
    told = watcher(house).get("/metrics").text
    assert 'radproof_jobs{kind="assess",state="queued"} 1.0' in told
    age = next(line for line in told.splitlines() if line.startswith("radproof_queue_age_seconds "))
    assert 99 < float(age.split()[1]) < 200
    assert "radproof_worker_sign_seconds 5" in told
    assert job not in told and person.project not in told and "local" not in told


@pytest.mark.parametrize("kind", kinds.NAMES)
def test_every_kind_of_job_is_counted_and_may_be_named(house: House, kind: str) -> None:
    person = house.person()
    with house.service.database.writing() as session:
        session.add(Job(id=new_id("job"), kind=kind, subject_id=new_id("mdl"), project_id=person.project))
    assert f'radproof_jobs{{kind="{kind}",state="queued"}} 1.0' in watcher(house).get("/metrics").text
    assert logs.Deny()(None, "info", {"event": "job.started", "kind": kind})["kind"] == kind
    assert kinds.kind_of(kind) and set(kinds.NAMES) == {*assessing.KINDS, *importing.KINDS}


def test_the_templates_that_a_log_may_name_are_those_of_the_routes() -> None:
    found = routes()
    assert {"/healthz", "/readyz", "/metrics", "/api/v1/status"} <= found


def test_status_tells_version_worker_and_queue(house: House) -> None:
    person = house.person("viewer")
    answer = person.client.get("/api/v1/status").json()
    assert answer["worker"] is False and answer["queued"] == 0 and answer["running"] == 0 and answer["version"]
    add_worker(house)
    assert person.client.get("/api/v1/status").json()["worker"] is True


def test_status_is_for_those_who_are_signed_in(house: House) -> None:
    assert watcher(house).get("/api/v1/status").status_code == 401


def test_a_resource_and_the_page_of_the_same_name_are_told_apart(house: House) -> None:
    client = watcher(house)
    client.cookies.update(house.person("viewer").client.cookies)
    client.get("/api/v1/status")
    assert 'route="/api/v1/status",status="2xx"' in client.get("/metrics").text
