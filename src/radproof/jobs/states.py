# SPDX-License-Identifier: Apache-2.0
"""The states of a job and every way between them; a step is one conditional UPDATE, so that races have one winner."""

from typing import Any, Literal, cast

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from radproof.errors import BadInput
from radproof.store.tables import Job, JobState

Verb = Literal["take", "release", "cancel", "pause", "resume", "retry", "succeed", "fail", "stop"]
HELD: tuple[JobState, ...] = ("running", "pausing", "cancelling")  # somebody works on it
FINAL: tuple[JobState, ...] = ("cancelled", "done", "failed")
MOVES: dict[Verb, dict[JobState, JobState]] = {
    "take": {"queued": "running"},  # by a worker
    "release": {"running": "queued"},  # the worker stopped or was lost
    "cancel": {"queued": "cancelled", "paused": "cancelled", "running": "cancelling", "pausing": "cancelling"},
    "pause": {"queued": "paused", "running": "pausing"},
    "resume": {"paused": "queued"},
    "retry": {"failed": "queued", "cancelled": "queued"},
    "succeed": {"running": "done", "pausing": "done", "cancelling": "cancelled"},
    "fail": {"queued": "failed", "running": "failed", "pausing": "failed", "cancelling": "cancelled"},
    "stop": {"pausing": "paused", "cancelling": "cancelled"},  # the command ended because it was asked to
}
_WORDS: dict[str, str] = {
    "queued": "waiting", "running": "running", "pausing": "about to pause", "paused": "paused",
    "cancelling": "being cancelled already", "cancelled": "cancelled", "done": "done", "failed": "over: it failed",
}  # fmt: skip


class Conflict(BadInput):
    """What was asked does not fit the state that the work is in now."""

    http_status = 409


def move(
    session: Session, job: Job, verb: Verb, *, held_by: str | None = None, attempt: int | None = None, **values: Any
) -> JobState:
    """Take a job from the state it is in to the one that `verb` leads to; `job` is fresh afterwards.

    `held_by`, `attempt`: only while that worker holds it, in that attempt. Raises Conflict where the verb does not fit.
    """
    while True:
        asked = select(Job.state, Job.worker, Job.attempt).where(Job.id == job.id)
        now = session.execute(asked).one_or_none()
        held = now and (held_by is None or now.worker == held_by) and (attempt is None or now.attempt == attempt)
        if now is None or not held:
            raise Conflict("somebody else holds this job now")
        goal = MOVES[verb].get(cast(JobState, now.state))
        if goal is None:
            raise Conflict(f"cannot {verb} this: it is {_WORDS[now.state]}")
        found = session.execute(
            update(Job)
            .where(Job.id == job.id, Job.state == now.state, Job.worker == now.worker, Job.attempt == now.attempt)
            .values(state=goal, **values)
            .execution_options(synchronize_session=False)
        )
        if cast("CursorResult[Any]", found).rowcount == 1:
            session.refresh(job)
            return goal
