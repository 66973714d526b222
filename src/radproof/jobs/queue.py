# SPDX-License-Identifier: Apache-2.0
"""Jobs as the server sees them: submitted, cancelled, paused, and where they are."""

from sqlalchemy.orm import Session

from radproof.store.database import Database
from radproof.store.ids import new_id
from radproof.store.settings import Settings
from radproof.store.tables import Job


class Jobs:
    """The queue."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings, self.database = settings, database

    def submit(
        self, session: Session, kind: str, *, subject_id: str, project_id: str, created_by: str, priority: int = 100
    ) -> Job:
        """A new job, in the caller's transaction; call `dispatch` when that is committed."""
        job = Job(
            id=new_id("job"),
            kind=kind,
            subject_id=subject_id,
            project_id=project_id,
            created_by=created_by,
            priority=priority,
        )
        session.add(job)
        session.flush()
        return job

    def dispatch(self) -> None:
        """Hand every queued job to the engine that is not there yet."""
