# SPDX-License-Identifier: Apache-2.0
"""What counts to a project's quota, and what a full one refuses."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.api.conftest import House, Person
from tests.api.runs.test_running import RUNS, plan
from tests.api.seeded import Seeds, seed

from radproof.jobs import assessing
from radproof.jobs.kinds import Outcome
from radproof.jobs.queue import Jobs
from radproof.store.tables import DataSet, Job, Run


@pytest.fixture
def who(house: House) -> Person:
    return house.person()


@pytest.fixture
def seeds(house: House, who: Person) -> Seeds:
    found = seed(house, None, who)
    house.service.settings.folder("models", found.model).mkdir(parents=True)
    return found


def used(house: House, who: Person) -> int:
    with house.service.database.reading() as session:
        return house.service.files.used(session, who.project)


def fill(house: House, seeds: Seeds, size: int) -> None:
    with house.service.database.writing() as session:
        session.get_one(Run, seeds.run).summary = {"bytes": size}


@pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
def test_a_run_that_is_over_counts_with_all_its_files(
    house: House, who: Person, seeds: Seeds, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def summary(_: Path) -> dict[str, Any]:
        return {"verdict": "v"}

    monkeypatch.setattr(assessing, "read_summary", summary)
    folder = house.service.settings.folder("runs", seeds.run)
    for name, size in (("result.json", 100), ("images/1.png", 900)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * size)
    before = used(house, who)
    with house.service.database.writing() as session:
        job = session.get_one(Job, seeds.job)
        job.state = state
        assessing.finish(session, job, house.service.settings, Outcome(0))
        assert (session.get_one(Run, seeds.run).summary.get("verdict") == "v") == (state == "done")
    assert used(house, who) == before + 1000
    assert used(house, house.person(project="other")) == 0
    assert who.client.delete(f"{RUNS}/{seeds.run}").status_code == 204
    assert used(house, who) == before


def test_no_run_begins_or_goes_on_in_a_project_that_is_full(house: House, who: Person, seeds: Seeds) -> None:
    quota = house.service.settings.quota_megabytes * 10**6
    fill(house, seeds, quota - 2)  # one byte is the seeded upload's
    begun = who.client.post(RUNS, json={"document": plan(seeds)})
    assert begun.status_code == 201, begun.text
    name = begun.json()["id"]
    assert who.client.post(f"{RUNS}/{name}/pause").status_code == 200
    fill(house, seeds, quota - 1)
    for path, body in ((RUNS, {"document": plan(seeds)}), (f"{RUNS}/{name}/resume", None)):
        refused = who.client.post(path, json=body)
        assert refused.status_code == 409 and "no run can begin: the project keeps 100,000.0 MB" in refused.text
    with house.service.database.reading() as session:
        assert session.get_one(Run, name).state == "paused"
        assert len(session.execute(select(Run)).scalars().all()) == 2
    fill(house, seeds, quota - 2)
    assert who.client.post(f"{RUNS}/{name}/resume").status_code == 200


def test_administrators_see_what_every_project_keeps(house: House, who: Person, seeds: Seeds) -> None:
    fill(house, seeds, 95_000_000_000)
    with house.service.database.writing() as session:
        session.get_one(DataSet, seeds.data).facts = {"bytes": 1_499_999}
    admin = house.person("admin", project="other")
    page = admin.client.get("/admin/projects").text
    assert "Keeps 95,001.5 of 100,000 MB" in page and "nearly full" in page and "Keeps 0.0 of 100,000 MB" in page
    told = {one["id"]: one for one in admin.client.get("/api/v1/admin/projects").json()["items"]}
    assert told[who.project]["used_bytes"] == 95_001_500_000 and told[admin.project]["used_bytes"] == 0
    assert told[who.project]["quota_bytes"] == 100_000_000_000


def test_jobs_that_are_put_off_keep_their_size(house: House, who: Person, seeds: Seeds) -> None:
    """A run that failed and is retried counts with what it had written until its job ends again."""
    with house.service.database.writing() as session:
        job = session.get_one(Job, seeds.job)
        job.state = "failed"
        session.get_one(Run, seeds.run).summary = {"bytes": 500}
        session.flush()
        Jobs(house.service.settings, house.service.database).retry(session, job)
    assert used(house, who) == 501
