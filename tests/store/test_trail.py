# SPDX-License-Identifier: Apache-2.0
"""The audit trail: a chain that shows what is missing or altered, in a table that refuses changes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError
from tests.store.fresh import migrated, unlocked

from radproof.store.trail import Trail


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Trail]:
    with migrated(tmp_path) as database:
        made = Trail(database)
        for number in range(5):
            with database.writing() as session:
                made.add(session, "model.upload", actor="usr_a", object=f"mdl_{number}", size=number)
        yield made


def test_a_whole_chain_is_whole(trail: Trail) -> None:
    assert trail.broken() is None


@pytest.mark.parametrize("verb", ["update events set actor = 'usr_b' where number = 3", "delete from events"])
def test_the_database_refuses_changes(trail: Trail, verb: str) -> None:
    with pytest.raises(DatabaseError, match="append-only"), trail.database.writing() as session:
        session.execute(text(verb))
    assert trail.broken() is None


@pytest.mark.parametrize(
    ("verb", "first"),
    [
        ("update events set actor = 'usr_b' where number = 3", 3),
        ("update events set detail = '{}' where number = 2", 2),
        ("delete from events where number = 4", 4),
        ("delete from events where number = 1", 1),
        ("update events set number = 9 where number = 5", 5),
    ],
)
def test_what_was_altered_past_the_triggers_shows(trail: Trail, verb: str, first: int) -> None:
    with trail.database.engine.begin() as connection:
        unlocked(connection)
        connection.execute(text(verb))
    assert trail.broken() == first


def test_an_event_is_part_of_what_it_tells_of(trail: Trail) -> None:
    with pytest.raises(ValueError, match="stop"), trail.database.writing() as session:
        trail.add(session, "run.start")
        raise ValueError("stop")
    with trail.database.reading() as session:
        assert session.execute(text("select count(*) from events")).scalar() == 5
