# SPDX-License-Identifier: Apache-2.0
"""What a project holds, as pages and resources look it up: things, their names, their jobs, their runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, load_only

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller, called, visible
from radproof.api.service import Service
from radproof.store.tables import DataSet, GuardFile, Job, Model, Owned, Run, User

T = TypeVar("T", bound=Owned)
LONGEST = 120  # characters of a name
NEWEST = 12  # runs of a model in one state


@dataclass
class RunsOf:
    """Of one model: the newest in every state, newest first, and how many there are in all."""

    newest: list[Run] = field(default_factory=list[Run])
    counts: dict[str, int] = field(default_factory=dict[str, int])  # state -> runs

    def of(self, *states: str) -> list[Run]:
        """The newest in these states."""
        return [run for run in self.newest if run.state in states]

    @property
    def count(self) -> int:
        """In all states."""
        return sum(self.counts.values())


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


def phantoms(session: Session, ids: set[str]) -> set[str]:
    """Those of these data sets whose images are drawn."""
    asked = select(DataSet.id).where(DataSet.id.in_(ids), DataSet.facts["phantom"].as_boolean())
    return set(session.execute(asked).scalars()) if ids else set()


def runs_of(session: Session, models: Sequence[Model], most: int = NEWEST) -> dict[str, RunsOf]:
    """Model -> its runs: at most `most` in every state, however many other models have."""
    found = {one.id: RunsOf() for one in models}
    if not found:
        return found
    theirs = Run.model_id.in_(found), Run.project_id.in_({one.project_id for one in models})
    order = Run.created.desc(), Run.id
    place = func.row_number().over(partition_by=(Run.model_id, Run.state), order_by=order).label("place")
    ranked = select(Run.id, place).where(*theirs).subquery()
    asked = select(Run).join(ranked, Run.id == ranked.c.id).where(ranked.c.place <= most).order_by(*order)
    for run in rows(session, asked):
        found[run.model_id].newest.append(run)
    counted = select(Run.model_id, Run.state, func.count()).where(*theirs).group_by(Run.model_id, Run.state)
    for model, state, count in session.execute(counted):
        found[model].counts[state] = count
    return found


def job_of(session: Session, subject: str) -> Job | None:
    """The newest job that made, or makes, something."""
    query = select(Job).where(Job.subject_id == subject).order_by(Job.created.desc(), Job.id).limit(1)
    return session.execute(query).scalar_one_or_none()


def jobs_of(session: Session, subjects: Sequence[str]) -> dict[str, Job]:
    """The same of many things, by what they are about."""
    query = select(Job).where(Job.subject_id.in_(subjects)).order_by(Job.created, Job.id.desc())
    return {job.subject_id: job for job in session.execute(query).scalars()} if subjects else {}


def person(session: Session, id: str | None) -> str:
    """Who made it."""
    user = session.get(User, id, options=[load_only(User.id, User.name)]) if id else None
    return user.name if user else "not recorded"


def checked_name(text: str) -> str:
    """A name that people may give: printable, on one line, not too long. Raises Problem 422."""
    name = " ".join(text.split(" ")).strip()
    if not name or len(name) > LONGEST or not name.isprintable():
        raise Problem(422, f"name: expected 1 to {LONGEST} printable characters on one line")
    return name


def tell(
    session: Session, service: Service, who: Caller, action: str, found: Model | DataSet | GuardFile, **detail: Any
) -> None:
    """A line of the audit trail, in the transaction of what it tells of."""
    service.trail.add(session, action, actor=who.user_id, object=found.id, project=found.project_id, **detail)


def word(kind: type[Owned]) -> str:
    """What jobs and the trail call such a thing."""
    return called(kind).split()[0]
