# SPDX-License-Identifier: Apache-2.0
"""Runs that are begun at the same moment keep to their project's quota, also where a database has many writers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

from tests.api.conftest import opened

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller
from radproof.api.plans.planning import Checked
from radproof.api.runs.running import make_run
from radproof.api.service import Service
from radproof.store.ids import new_id
from radproof.store.tables import Model, Project, User


def test_web_race_many_runs_at_once_keep_to_the_quota(tmp_path: Path) -> None:
    with opened(tmp_path / "home", quota_runs=2) as service:
        check(service)


def check(service: Service) -> None:
    """Eight begin one together, where two may be unfinished."""
    project, model, user = new_id("prj"), new_id("mdl"), new_id("usr")
    with service.database.writing() as session:
        session.add_all([Project(id=project, name="ours"), User(id=user, name="u", role="developer")])
        session.flush()
        session.add(Model(id=model, project_id=project, name="m", path="x", state="ready"))
    who = Caller(user, "u", "developer", (project,), project)
    together = Barrier(8)

    def start(_: int) -> int:
        with service.database.reading() as session:
            own = session.get(Model, model)
        found = Checked({}, "0" * 64, SimpleNamespace(title="t", name="t"), project, own, None)
        together.wait()
        try:
            with service.database.writing() as session:
                make_run(session, service, who, found)
        except Problem as problem:
            return problem.status
        return 201

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(start, range(8))) == [201] * 2 + [409] * 6
