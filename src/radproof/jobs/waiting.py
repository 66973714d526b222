# SPDX-License-Identifier: Apache-2.0
"""The engine's side of the queue, as any process reaches it: put jobs in, and put back what a lost worker held."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from dbos import DBOS, DBOSClient
from sqlalchemy import Engine

from radproof.jobs.strict import StrictJson, shut

APPLICATION, VERSION = "radproof", "1"  # the version is pinned: a newer radproof goes on with older work
QUEUE, WORKFLOW = "work", "radproof.work"
SCHEMA = "dbos"  # of PostgreSQL


@dataclass(frozen=True)
class Placed:
    """A workflow as the engine has it."""

    status: str
    priority: int
    executor: str


def workflow_id(job: str, attempt: int) -> str:
    """Of one attempt of a job."""
    return f"{job}.{attempt}"


def never(executor: str, workflow: str) -> bool:
    """Nobody is known to be lost."""
    return False


class Waiting:
    """Makes the engine's tables on first use."""

    def __init__(self, url: str) -> None:
        shut()
        quiet()
        DBOS.migrate(url, schema=SCHEMA)
        self._client = DBOSClient(
            system_database_url=url,
            dbos_system_schema=SCHEMA,
            serializer=StrictJson(),
            system_database_pool_size=2,
            application_name=APPLICATION,
            retry_connection_errors=False,
        )

    def close(self) -> None:
        """Let go of its connections."""
        self._client.destroy()

    def put(
        self, queued: Sequence[tuple[str, int, int]], lost: Callable[[str, str], bool] = never
    ) -> list[tuple[str, int]]:
        """Put (job, attempt, priority) in, each once however often this is called.

        `lost(executor, workflow)`: whether a worker that took one is gone. Returns those whose workflow is over though
        the job still waits: they need a new attempt.
        """
        known = self.placed([workflow_id(job, attempt) for job, attempt, _ in queued])
        over: list[tuple[str, int]] = []
        for job, attempt, priority in queued:
            name = workflow_id(job, attempt)
            found = known.get(name)
            if found is None:
                self._enqueue(name, job, attempt, priority)
            elif found.status == "ENQUEUED":
                if found.priority != priority:
                    self._prioritise(name, priority)
            elif found.status == "PENDING":
                if lost(found.executor, name):
                    self.put_back(name)
            else:
                over.append((job, attempt))
        return over

    def put_back(self, workflow: str) -> None:
        """One that was begun waits again, for any worker."""
        self._client.resume_workflow(workflow, queue_name=QUEUE)

    def placed(self, workflows: Sequence[str]) -> dict[str, Placed]:
        """What the engine has of these. Nothing that it keeps is decoded."""
        table, found = self._table, dict[str, Placed]()
        columns = (table.c.workflow_uuid, table.c.status, table.c.priority, table.c.executor_id)
        with self._engine.connect() as connection:
            for start in range(0, len(workflows), 500):
                asked = sa.select(*columns).where(table.c.workflow_uuid.in_(workflows[start : start + 500]))
                for name, status, priority, executor in connection.execute(asked):
                    found[name] = Placed(status, priority or 0, executor or "")
        return found

    def _enqueue(self, name: str, job: str, attempt: int, priority: int) -> None:
        self._client.enqueue(
            {
                "workflow_name": WORKFLOW,
                "queue_name": QUEUE,
                "workflow_id": name,
                "app_version": VERSION,
                "priority": priority,
            },
            job,
            attempt,
        )

    def _prioritise(self, name: str, priority: int) -> None:
        table = self._table
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(table)
                .where(table.c.workflow_uuid == name, table.c.status == "ENQUEUED")
                .values(priority=priority)
            )

    @property
    def _engine(self) -> Engine:
        return self._client._sys_db.engine  # pyright: ignore[reportPrivateUsage]

    @property
    def _table(self) -> sa.Table:
        return self._client._sys_db.tables.workflow_status  # pyright: ignore[reportPrivateUsage]


def quiet() -> None:
    """The engine speaks through the standard library's logging, from warnings on."""
    log = logging.getLogger("dbos")
    if not log.handlers:
        log.addHandler(logging.NullHandler())  # else it adds one of its own, to stderr
    log.propagate = True
    log.setLevel(logging.WARNING)
