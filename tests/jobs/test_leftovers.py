# SPDX-License-Identifier: Apache-2.0
"""Uploads of failed imports, which may hold patients' names, are not kept for ever."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from tests.jobs.test_importing import Desk, desk  # noqa: F401

from radproof.errors import BadInput
from radproof.jobs.kinds import Outcome
from radproof.jobs.leftovers import forget_failed
from radproof.jobs.worker import Worker
from radproof.store.tables import DataSet, Event, File, Job, Model, now

FAILED = Outcome(2, "", "why")


def ended(desk: Desk, kind: type[Any], days: float, outcome: Outcome = FAILED) -> Job:  # noqa: F811
    """An import that failed so long ago."""
    job = desk.upload(kind, f"{kind} {days}".encode())
    desk.done(job, outcome)
    with desk.database.writing() as session:
        session.execute(update(Job).where(Job.id == job.id).values(finished=now() - timedelta(days=days)))
    return job


def kept(desk: Desk) -> int:  # noqa: F811
    with desk.database.reading() as session:
        rows = len(session.execute(select(File)).scalars().all())
    assert rows == len(desk.names())
    return rows


def test_phi_uploads_of_failed_imports_of_images_go_after_a_week_and_the_trail_says_so(desk: Desk) -> None:  # noqa: F811
    old, _, _ = ended(desk, DataSet, 7.1), ended(desk, DataSet, 6.9), ended(desk, Model, 100)
    assert kept(desk) == 3 and forget_failed(desk.settings, desk.database, "one") == 1 and kept(desk) == 2
    with pytest.raises(BadInput, match="upload it again"):
        desk.arguments(old)
    with desk.database.reading() as session:
        found = session.get_one(DataSet, old.subject_id)
        assert (found.state, found.error, found.file_id) == ("failed", "why", None)
        event = session.execute(select(Event)).scalar_one()
        assert (event.action, event.object, event.actor) == ("data.forget", old.subject_id, "one")
    assert forget_failed(desk.settings, desk.database, "one") == 0


def test_phi_the_table_beside_them_goes_too_and_what_is_tried_again_stays(desk: Desk) -> None:  # noqa: F811
    old, beside = ended(desk, DataSet, 8), ended(desk, Model, 8)
    with desk.database.writing() as session:
        table = session.get_one(Model, beside.subject_id).file_id
        session.get_one(DataSet, old.subject_id).told = {"labels": table}
    assert kept(desk) == 2 and forget_failed(desk.settings, desk.database, "one") == 1 and kept(desk) == 0
    again = ended(desk, DataSet, 9)
    with desk.database.writing() as session:
        session.get_one(DataSet, again.subject_id).state = "importing"
    assert forget_failed(desk.settings, desk.database, "one") == 0 and kept(desk) == 1


def test_phi_nothing_is_kept_where_the_setting_says_so(desk: Desk) -> None:  # noqa: F811
    settings = desk.settings.model_copy(update={"keep_failed_days": 0})
    ended(replace(desk, settings=settings), DataSet, 0)
    assert kept(desk) == 0


def test_a_worker_looks_once_an_hour(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # noqa: F811
    at = [1000.0]
    monkeypatch.setattr("radproof.jobs.worker.monotonic", lambda: at[0])
    worker = Worker(desk.settings)
    looks: list[int] = []
    monkeypatch.setattr("radproof.jobs.worker.forget_failed", lambda *_: looks.append(1) or 0)
    for later in (0, 1, 3500, 200):
        at[0] += later
        worker._forget()
    assert len(looks) == 2
    worker._database.close()
