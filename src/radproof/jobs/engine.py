# SPDX-License-Identifier: Apache-2.0
"""The durable engine within a worker: it hands out what waits, one workflow per attempt of a job."""

from collections.abc import Callable
from typing import Any

from dbos import DBOS, Queue

from radproof.jobs.strict import StrictJson, shut
from radproof.jobs.waiting import APPLICATION, QUEUE, SCHEMA, VERSION, WORKFLOW, quiet

OFTEN = 0.5  # seconds between looks for work
Work = Callable[[str, int], dict[str, Any]]


class Released(BaseException):
    """A job was given back or lost: nothing is recorded, and its workflow goes on elsewhere.

    No Exception, so that the engine does not take it for an outcome.
    """


class Engine:
    """One per process. Nothing leaves the machine: no conductor, no telemetry."""

    def __init__(self, url: str, name: str, at_once: int, work: Work) -> None:
        self._url, self._name, self._at_once, self._work = url, name, at_once, work

    def start(self) -> None:
        """Take work from now on. What this worker held in an earlier life waits again."""
        shut()
        quiet()
        engine = DBOS(
            config={
                "name": APPLICATION,
                "system_database_url": self._url,
                "dbos_system_schema": SCHEMA,
                "serializer": StrictJson(),
                "application_version": VERSION,
                "executor_id": self._name,
                "enable_otlp": False,
                "conductor_key": None,
                "log_level": "WARNING",
                "sys_db_pool_size": self._at_once + 4,
                "scheduler_polling_interval_sec": 3600.0,
            }
        )
        DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)(self._workflow())
        DBOS.listen_queues([QUEUE])
        DBOS.launch()
        DBOS.register_queue(QUEUE, worker_concurrency=1, polling_interval_sec=OFTEN, on_conflict="always_update")
        self._own_number(engine)

    def step(self, do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Within a workflow: what `do` returned, also after a kill; raising Released leaves it undone."""
        return DBOS.run_step({"name": "command"}, do)

    def close(self) -> None:
        """Take no more work."""
        DBOS.destroy(destroy_registry=True)

    def _workflow(self) -> Work:
        def work(job: str, attempt: int) -> dict[str, Any]:
            return self._work(job, attempt)

        return work

    def _own_number(self, engine: DBOS) -> None:
        """How many at once is this worker's own matter; the engine keeps one number for all of them."""
        database = engine._sys_db  # pyright: ignore[reportPrivateUsage]
        read = database.get_queue

        def get_queue(name: str, *given: Any, **told: Any) -> Queue | None:
            found = read(name, *given, **told)
            if found is not None and found.name == QUEUE:
                found._worker_concurrency = self._at_once  # pyright: ignore[reportPrivateUsage]
            return found

        database.get_queue = get_queue
