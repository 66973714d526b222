# SPDX-License-Identifier: Apache-2.0
"""One who tries an import again and one who removes it at the same moment, where a database has many writers."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from sqlalchemy import select, text
from tests.api.conftest import House, Person, furnished
from tests.api.shelf.test_keeping import caller, queued
from tests.api.shelf.test_retrying import failed
from tests.store.fresh import on_server

from radproof.api.http.problems import Problem
from radproof.api.people.access import held
from radproof.api.serving.assembly import make_service
from radproof.api.shelf import clearing
from radproof.api.shelf.retrying import make_retry
from radproof.store.settings import read_settings
from radproof.store.tables import DataSet, Job

pytestmark = [pytest.mark.slow, pytest.mark.postgres]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[House]:
    """On PostgreSQL."""
    with on_server() as url:
        service = make_service(read_settings(home=tmp_path / "home", database=url, worker=False))
        try:
            yield furnished(service)
        finally:
            service.screeners.close()
            service.jobs.close()
            service.database.close()


@pytest.fixture
def who(served: House) -> Person:
    return served.person()


@pytest.fixture
def name(served: House, who: Person) -> str:
    return failed(served, who, "data")


def second(house: House, first: Callable[[Any], object], then: Callable[[], object]) -> object:
    """What `then` comes to, which began while the transaction of `first` was open: its value, or its error."""
    with ThreadPoolExecutor(1) as pool:
        with house.service.database.writing() as session:
            first(session)
            waiting = pool.submit(then)
            ends = monotonic() + 60
            while not blocked(house) and not waiting.done():
                assert monotonic() < ends
                sleep(0.01)
        return waiting.exception(60) or waiting.result()


def blocked(house: House) -> bool:
    asked = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with house.service.database.reading() as session:
        return bool(session.execute(text(asked)).scalar_one())


def test_web_race_one_who_retries_what_is_being_removed_is_told_that_it_is_gone(
    served: House, who: Person, name: str
) -> None:
    def remove(session: Any) -> None:
        found = held(session, DataSet, name, caller(who))
        clearing._remove(session, served.service, caller(who), found, (found.file_id,))

    error = second(served, remove, lambda: queued(make_retry, served.service, caller(who), DataSet, name, {}))
    assert isinstance(error, Problem) and error.status == 404


def test_web_race_what_is_removed_while_it_is_queued_again_leaves_no_job(served: House, who: Person, name: str) -> None:
    def again(session: Any) -> None:
        make_retry(session, served.service, caller(who), DataSet, name, {})

    assert second(served, again, lambda: clearing.remove_data(served.service, caller(who), name)) is None
    with served.service.database.reading() as session:
        states = session.execute(select(Job.state)).scalars().all()
        assert set(states) <= {"cancelled"} and session.get(DataSet, name) is None
