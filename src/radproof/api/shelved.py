# SPDX-License-Identifier: Apache-2.0
"""What everything on a shelf has: a name, a job that makes it, lines in the audit trail."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from radproof.api.access import Caller
from radproof.api.problems import Problem
from radproof.api.service import Service
from radproof.store.tables import DataSet, GuardFile, Job, Model

LONGEST = 120  # characters of a name


def checked_name(text: str) -> str:
    """A name that people may give: printable, on one line, not too long. Raises Problem 422."""
    name = " ".join(text.split(" ")).strip()
    if not name or len(name) > LONGEST or not name.isprintable():
        raise Problem(422, f"name: expected 1 to {LONGEST} printable characters on one line")
    return name


def job_of(session: Session, subject: str) -> Job | None:
    """The latest job that made, or makes, something."""
    query = select(Job).where(Job.subject_id == subject).order_by(Job.created.desc(), Job.id).limit(1)
    return session.execute(query).scalar_one_or_none()


def jobs_of(session: Session, subjects: Sequence[str]) -> dict[str, Job]:
    """The same of many things, by what they are about."""
    query = select(Job).where(Job.subject_id.in_(subjects)).order_by(Job.created, Job.id.desc())
    return {job.subject_id: job for job in session.execute(query).scalars()}


def tell(
    session: Session, service: Service, who: Caller, action: str, found: Model | DataSet | GuardFile, **detail: Any
) -> None:
    """A line of the audit trail, in the transaction of what it tells of."""
    service.trail.add(session, action, actor=who.user_id, object=found.id, project=found.project_id, **detail)


def word(kind: type[Any]) -> str:
    """What jobs and the trail call such a thing."""
    return {Model: "model", DataSet: "data", GuardFile: "guard"}[kind]
