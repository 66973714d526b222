# SPDX-License-Identifier: Apache-2.0
"""Jobs as the server sees them: submitted, cancelled, paused, and where they are."""

import logging
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from radproof.errors import BadInput
from radproof.jobs.forgetting import forget, sweep
from radproof.jobs.kinds import Outcome, kind_of
from radproof.jobs.states import FINAL, Conflict, Verb, move
from radproof.store.database import Database
from radproof.store.ids import new_id
from radproof.store.settings import Settings
from radproof.store.tables import Job, now

if TYPE_CHECKING:
    from radproof.jobs.waiting import Waiting

log = logging.getLogger(__name__)
FIRST, LAST = 1, 1000  # priorities; smaller ones go first
STOPPED = Outcome(130, error="cancelled before it was begun")


class Jobs:
    """The queue. Everything but `dispatch` works in the caller's transaction: call `dispatch` once it is committed."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings, self.database = settings, database
        self._lock = Lock()

    def submit(
        self,
        session: Session,
        kind: str,
        *,
        subject_id: str,
        project_id: str,
        created_by: str | None,
        priority: int = 100,
    ) -> Job:
        """A new job. Raises BadInput for a priority out of range."""
        job = Job(
            id=new_id("job"),
            kind=kind,
            subject_id=subject_id,
            project_id=project_id,
            created_by=created_by,
            priority=_priority(priority),
        )
        session.add(job)
        session.flush()
        return job

    def dispatch(self) -> None:
        """Hand every queued job to the engine that is not there yet. What fails here, a worker makes up for."""
        with self.database.reading() as session:
            asked = select(Job.id, Job.attempt, Job.priority).where(Job.state == "queued")
            queued = session.execute(asked).all()
        if not queued:
            return
        try:
            with self._lock:
                self._waiting.put(queued)
        except Exception as error:
            log.warning("the engine of jobs is not to be reached: %s", type(error).__name__)

    def cancel(self, session: Session, job: Job) -> Job:
        """Stop it for good; at once where nobody has begun, else the worker stops the command. Raises Conflict."""
        self._move(session, job, "cancel")
        if job.state == "cancelled":
            job.finished = now()
            kind_of(job.kind).finish(session, job, self.settings, STOPPED)
            session.flush()
        return job

    def pause(self, session: Session, job: Job) -> Job:
        """Stop it until `resume`; finished batches are kept. Raises Conflict."""
        return self._move(session, job, "pause")

    def resume(self, session: Session, job: Job) -> Job:
        """Queue a paused one again; it goes on where it was. Raises Conflict."""
        return self._again(session, job, "resume")

    def retry(self, session: Session, job: Job) -> Job:
        """Queue a failed or cancelled one again; finished batches are not done again. Raises Conflict."""
        return self._again(session, job, "retry")

    def forget(self, session: Session, subject: str) -> tuple[str, ...]:
        """Delete the jobs about what is removed; give the names to `sweep` once that is committed."""
        return forget(session, subject)

    def sweep(self, jobs: tuple[str, ...]) -> None:
        """Remove the files of jobs that are deleted."""
        sweep(self.settings, jobs)

    def prioritise(self, session: Session, job: Job, priority: int) -> Job:
        """Smaller ones go first: 1 to 1000. Raises BadInput out of this range, Conflict for one that is over."""
        session.refresh(job)
        if job.state in FINAL:
            raise Conflict("this is over; there is nothing left to put first")
        job.priority = _priority(priority)
        session.flush()
        return job

    def close(self) -> None:
        """Let go of the engine's connections; they come back when they are needed."""
        with self._lock:
            waiting: Waiting | None = self.__dict__.pop("_waiting", None)
            if waiting is not None:
                waiting.close()

    @cached_property
    def _waiting(self) -> "Waiting":
        from radproof.jobs.waiting import Waiting

        return Waiting(self.settings.jobs_url)

    def _move(self, session: Session, job: Job, verb: Verb) -> Job:
        session.flush()
        move(session, job, verb)
        kind_of(job.kind).follow(session, job)
        return job

    def _again(self, session: Session, job: Job, verb: Verb) -> Job:
        session.flush()
        move(session, job, verb, attempt=job.attempt, worker="", error="", code=None, started=None, finished=None)
        job.attempt += 1
        job.progress = {}
        kind_of(job.kind).follow(session, job)
        session.flush()
        return job


def _priority(given: int) -> int:
    if not FIRST <= given <= LAST:
        raise BadInput(f"a priority is {FIRST} (first) to {LAST} (last), not {given}")
    return given
