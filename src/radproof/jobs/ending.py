# SPDX-License-Identifier: Apache-2.0
"""Ends of jobs: one transaction for the job's row, its subject's, and the trail."""

import logging
from dataclasses import dataclass

from sqlalchemy.orm import Session

from radproof.errors import RadproofError
from radproof.jobs.forgetting import forget, orphaned, sweep
from radproof.jobs.kinds import Outcome, kind_of
from radproof.jobs.patience import AWAY
from radproof.jobs.states import FINAL, Conflict, Verb, move
from radproof.store.database import Database
from radproof.store.settings import Settings
from radproof.store.tables import Job, now
from radproof.store.trail import Trail

log = logging.getLogger(__name__)


def end(
    database: Database, settings: Settings, worker: str, job: str, attempt: int, outcome: Outcome, *, stopped: bool
) -> str:
    """The job's state afterwards. Whoever comes second changes nothing."""
    ending = _Ending(database, settings, worker, job, attempt)
    verb: Verb = "stop" if stopped else "succeed" if outcome.code in (0, 1) else "fail"
    try:
        return ending.write(verb, outcome)
    except Conflict:
        with database.reading() as session:
            found = session.get(Job, job)
            return found.state if found else "gone"
    except AWAY:
        raise
    except Exception as error:
        log.warning("%s: its outcome could not be taken in (%s)", job, type(error).__name__)
        told = str(error) if isinstance(error, RadproofError) else "its outcome could not be taken in; retry it"
        try:
            return ending.write("fail", Outcome(3, error=told))
        except Exception:
            return ending.write("fail", Outcome(3, error=told), alone=True)


def release(database: Database, settings: Settings, worker: str, job: str, attempt: int) -> str:
    """A held job that nobody works on any more waits again, or is paused or cancelled as was asked; its state.

    Raises Conflict where `worker` does not hold it in this attempt.
    """
    ending = _Ending(database, settings, worker, job, attempt)
    try:
        return ending.write("release", Outcome(130))
    except Conflict:
        return ending.write("stop", Outcome(130))


@dataclass(frozen=True)
class _Ending:
    database: Database
    settings: Settings
    worker: str
    job: str
    attempt: int

    def write(self, verb: Verb, outcome: Outcome, *, alone: bool = False) -> str:
        """`alone`: the subject's row cannot be changed along with it."""
        gone: tuple[str, ...] = ()
        with self.database.writing() as session:
            job = session.get(Job, self.job)
            if job is None:
                raise Conflict("there is no such job")
            held_by = None if job.state == "queued" else self.worker
            move(session, job, verb, held_by=held_by, attempt=self.attempt)
            if job.state in FINAL:
                self._finish(session, job, outcome, alone)
            else:
                job.worker = ""
                kind_of(job.kind).follow(session, job)
            state = job.state
            if state in FINAL and orphaned(session, job):
                gone = forget(session, job.subject_id)
        sweep(self.settings, gone)
        return state

    def _finish(self, session: Session, job: Job, outcome: Outcome, alone: bool) -> None:
        cancelled = job.state == "cancelled"
        job.finished, job.code = now(), 130 if cancelled else outcome.code
        job.error = outcome.error[:2000] if job.state == "failed" else ""
        if not alone:
            kind_of(job.kind).finish(
                session, job, self.settings, Outcome(130, error="cancelled") if cancelled else outcome
            )
        session.flush()
        Trail(self.database).add(
            session,
            f"job.{job.state}",
            actor=self.worker,
            object=job.id,
            project=job.project_id,
            kind=job.kind,
            subject=job.subject_id,
            code=job.code,
        )
