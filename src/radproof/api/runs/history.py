# SPDX-License-Identifier: Apache-2.0
"""What is known of a run beside its result: whose it is, its plan, its job, where it waits, what happened to it."""

from dataclasses import dataclass
from datetime import datetime

import yaml
from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.orm import Session

from radproof.api.shelf.holdings import job_of, names, person, phantoms
from radproof.jobs.serving import served
from radproof.store.tables import DataSet, Event, Job, Model, Run, SavedPlan

MOST = 40  # events that are told
_WORDS = {
    "run.add": "queued",
    "run.cancel": "to be cancelled",
    "run.pause": "to be paused",
    "run.resume": "resumed",
    "run.retry": "queued again",
    "run.priority": "priority changed",
    "run.export": "exported",
    "job.done": "done",
    "job.failed": "failed",
    "job.cancelled": "cancelled",
    "job.paused": "paused",
}


@dataclass(frozen=True)
class Happening:
    """One event of the trail."""

    at: datetime
    what: str
    who: str


@dataclass(frozen=True)
class Waiting:
    """Where work that is not over stands."""

    place: int  # in the queue, from 1; 0: it does not wait in it
    served: bool  # some worker gave a sign of life lately


@dataclass(frozen=True)
class History:
    """Of one run."""

    job: Job | None
    by: str
    model: str  # its name
    data: str  # its name; "" for phantoms
    phantom: bool
    plan: str  # YAML
    events: tuple[Happening, ...]  # newest first


def history(session: Session, run: Run) -> History:
    """What happened to a run that was found in the caller's own projects."""
    plan = session.get(SavedPlan, run.plan_id)
    data = {run.data_id} if run.data_id else set[str]()
    return History(
        job=job_of(session, run.id),
        by=person(session, run.created_by),
        model=names(session, Model, {run.model_id}).get(run.model_id, ""),
        data=names(session, DataSet, data).get(run.data_id or "", ""),
        phantom=run.data_id is None or bool(phantoms(session, data)),
        plan=yaml.safe_dump(plan.document, sort_keys=False, allow_unicode=True, width=88) if plan else "",
        events=_events(session, run),
    )


def waiting(session: Session, job: Job | None) -> Waiting:
    """Where a job waits, and whether anybody works at all."""
    if job is None or job.state != "queued":
        return Waiting(0, served(session))
    own = tuple_(Job.priority, Job.created, Job.id) < (job.priority, job.created, job.id)
    asked = select(func.count()).select_from(Job).where(Job.state == "queued", own)
    return Waiting(session.execute(asked).scalar_one() + 1, served(session))


def _events(session: Session, run: Run) -> tuple[Happening, ...]:
    """Of the run and of its jobs, whose ends their worker tells."""
    jobs = select(Job.id).where(Job.subject_id == run.id, Job.project_id == run.project_id)
    asked = select(Event).where(or_(Event.object == run.id, Event.object.in_(jobs)), Event.action != "run.view")
    found = session.execute(asked.order_by(Event.number.desc()).limit(MOST)).scalars().all()
    return tuple(Happening(one.at, _what(one), _who(session, one)) for one in found)


def _what(event: Event) -> str:
    what = _WORDS.get(event.action, event.action.partition(".")[2].replace("_", " "))
    if event.action == "run.priority":
        return f"{what} to {event.detail.get('priority')}"
    return f"{what} as {event.detail.get('format')}" if event.action == "run.export" else what


def _who(session: Session, event: Event) -> str:
    return "a worker" if event.action.startswith("job.") else person(session, event.actor)
