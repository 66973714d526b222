# SPDX-License-Identifier: Apache-2.0
"""What is left of jobs whose subject is removed: nothing, once nobody works on them."""

from sqlalchemy import delete
from sqlalchemy.orm import Session

from radproof.jobs.states import HELD
from radproof.jobs.threads import path_of
from radproof.store.ids import is_id
from radproof.store.settings import Settings
from radproof.store.tables import DataSet, GuardFile, Job, Model, Run

_SUBJECTS = {"run": Run, "mdl": Model, "dat": DataSet, "grd": GuardFile}


def forget(session: Session, subject: str) -> tuple[str, ...]:
    """Delete the rows of jobs about something; their names. Those that a worker holds go at their end."""
    asked = delete(Job).where(Job.subject_id == subject, Job.state.not_in(HELD)).returning(Job.id)
    return tuple(session.execute(asked).scalars())


def sweep(settings: Settings, jobs: tuple[str, ...]) -> None:
    """Remove what they left beside the plans, once they are deleted."""
    for job in jobs:
        path_of(settings, job).unlink(missing_ok=True)


def orphaned(session: Session, job: Job) -> bool:
    """Whether what a job is about was removed."""
    table = _SUBJECTS.get(job.subject_id[:3]) if is_id(job.subject_id) else None
    return table is not None and session.get(table, job.subject_id) is None
