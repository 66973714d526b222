# SPDX-License-Identifier: Apache-2.0
"""What pages look up: things of the project that is shown, and what belongs to them."""

from typing import TypeVar, cast

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, load_only

from radproof.api.access import Caller, visible
from radproof.store.tables import Job, Model, Owned, Run, User

T = TypeVar("T", bound=Owned)


def here(kind: type[T], who: Caller) -> Select[T]:
    """All things of a kind in the project that the header names, or in all of the caller's where it names none."""
    return visible(kind, who, who.project_id if who.project_id in who.projects else None)


def rows(session: Session, asked: Select[T]) -> list[T]:
    """What a query finds."""
    return list(session.execute(asked).scalars())


def names(session: Session, kind: type[T], ids: set[str]) -> dict[str, str]:
    """id -> name, of things that were found in the caller's own projects."""
    table = cast("type[Model]", kind)
    asked = select(table.id, table.name).where(table.id.in_(ids))
    return {id: name for id, name in session.execute(asked)} if ids else {}


def runs_of(session: Session, models: list[Model], most: int = 400) -> dict[str, list[Run]]:
    """Model -> its runs, newest first."""
    found: dict[str, list[Run]] = {one.id: [] for one in models}
    projects = {one.project_id for one in models}
    asked = select(Run).where(Run.model_id.in_(found), Run.project_id.in_(projects)).order_by(Run.created.desc())
    for run in rows(session, asked.limit(most)) if found else []:
        found[run.model_id].append(run)
    return found


def jobs_of(session: Session, subjects: list[str]) -> dict[str, Job]:
    """Subject -> its newest job."""
    asked = select(Job).where(Job.subject_id.in_(subjects)).order_by(Job.created)
    return {job.subject_id: job for job in session.execute(asked).scalars()} if subjects else {}


def person(session: Session, id: str | None) -> str:
    """Who made it."""
    user = session.get(User, id, options=[load_only(User.id, User.name)]) if id else None
    return user.name if user else "not recorded"
