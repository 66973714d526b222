# SPDX-License-Identifier: Apache-2.0
"""The audit trail: every event holds the hash of the one before it, so that a missing or altered one shows."""

import hashlib
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from radproof.core.records import canonical_json
from radproof.store.database import Database
from radproof.store.tables import Event, now

FIRST = "0" * 64


class Trail:
    """Adds events, and checks the chain."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(
        self, session: Session, action: str, *, actor: str = "", object: str = "", project: str = "", **detail: Any
    ) -> None:
        """One event, in the transaction of what it tells of. `detail` never holds a patient's or a file's name."""
        if session.get_bind().dialect.name == "postgresql":  # one writer at a time, or two would follow the same event
            session.execute(text("select pg_advisory_xact_lock(7237)"))
        last = session.execute(select(Event).order_by(Event.number.desc()).limit(1)).scalar_one_or_none()
        one = Event(
            number=last.number + 1 if last else 1,
            at=now(),
            actor=actor,
            action=action,
            object=object,
            project_id=project,
            detail=detail,
            previous=last.hash if last else FIRST,
        )
        one.hash = digest(one)
        session.add(one)
        session.flush()

    def broken(self) -> int | None:
        """The number of the first event that does not follow the one before it; None: the chain is whole."""
        with self.database.reading() as session:
            previous = FIRST
            events = session.execute(select(Event).order_by(Event.number)).scalars().yield_per(1000)
            for number, one in enumerate(events, 1):
                if one.number != number or one.previous != previous or one.hash != digest(one):
                    return number
                previous = one.hash
        return None


def digest(one: Event) -> str:
    """sha256 of an event and of the hash before it."""
    told = {
        "number": one.number,
        "at": one.at.isoformat(),
        "actor": one.actor,
        "action": one.action,
        "object": one.object,
        "project": one.project_id,
        "detail": one.detail,
        "previous": one.previous,
    }
    return hashlib.sha256(canonical_json(told).encode()).hexdigest()
