# SPDX-License-Identifier: Apache-2.0
"""An import that failed and is tried again, as a worker does it: the real command imports the upload that was kept."""

import sys
from collections.abc import Sequence
from functools import partial
from threading import Event

import pytest
from sqlalchemy import select
from tests.api.conftest import House
from tests.api.shelf.test_keeping import caller, queued, staged
from tests.jobs.test_importing import folders, packed

from radproof.api.shelf import keeping
from radproof.jobs import doing
from radproof.jobs.doing import Doing, Lease
from radproof.jobs.process import Command
from radproof.store.tables import File, Job

FAILS = (sys.executable, "-c", "raise SystemExit(2)")


def work(house: House, subject: str, attempt: int, program: Sequence[str] = ()) -> None:
    """What the engine has a worker do."""
    with pytest.MonkeyPatch.context() as patch:
        if program:
            patch.setattr(doing, "Command", partial(Command, program=program))
        with house.service.database.reading() as session:
            (job,) = session.execute(select(Job.id).where(Job.subject_id == subject)).scalars()
        hand, lease = Doing(house.service.settings, house.service.database, "one", Event()), Lease(job, attempt)
        assert hand.take(lease)
        hand.end(lease, hand.command(lease))


def test_an_import_that_failed_goes_well_at_the_second_try_and_the_upload_goes(house: House) -> None:
    who = house.person()
    archive = packed({**folders(), "set/Normal/x.png": b"\x89PNG broken"})
    with staged(house, archive) as file:
        name = queued(keeping.make_data, house.service, caller(who), file, told={"strict": "on"}).id
    work(house, name, 1, FAILS)
    found = who.client.get(f"/api/v1/data/{name}").json()
    assert (found["state"], found["job"]["state"]) == ("failed", "failed")
    assert not house.service.settings.folder("data", name).exists()
    assert who.client.post(f"/api/v1/data/{name}/retry", json={"strict": False}).status_code == 202
    work(house, name, 2)
    found = who.client.get(f"/api/v1/data/{name}").json()
    assert (found["state"], found["error"], found["job"]["state"]) == ("ready", "", "done"), found
    with house.service.database.reading() as session:
        assert session.execute(select(File)).scalars().all() == []
        used = house.service.files.used(session, who.project)
    folder = house.service.settings.folder("data", name)
    assert used == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) > 0
    assert len(list((folder / "images").iterdir())) == 12
    assert who.client.post(f"/api/v1/data/{name}/retry", json={}).status_code == 409
