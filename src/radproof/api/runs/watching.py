# SPDX-License-Identifier: Apache-2.0
"""How far a run is, as server-sent events: its row is looked at about once a second, and nothing stays open between."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.types import Receive, Scope, Send

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller
from radproof.api.shelf.holdings import job_of
from radproof.jobs.states import FINAL
from radproof.store.database import Database
from radproof.store.tables import Membership, Run, User, now
from radproof.store.tables import Session as SignedIn

MOST = 8  # streams that one user has open
TOLD = ("stage", "done", "total", "share", "left", "left_low", "left_high", "stage_share", "stage_left", "note")
EVERY = 1.0  # seconds between two looks
BEAT = 15.0  # seconds of silence after which a comment keeps the connection open
LONGEST = 600.0  # seconds; browsers come back by themselves, and are asked again who they are
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Streams:
    """How many each user has open."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._lock = Lock()

    def take(self, user: str) -> None:
        """One more. Raises Problem 429."""
        with self._lock:
            if self._open[user] >= MOST:
                detail = f"you have {MOST} event streams open; close one"
                raise Problem(429, detail, headers={"Retry-After": "5"})
            self._open[user] += 1

    def leave(self, user: str) -> None:
        """One fewer."""
        with self._lock:
            self._open[user] -= 1
            if not self._open[user]:
                del self._open[user]

    @contextmanager
    def held(self, user: str) -> Generator[None]:
        """One more until it ends, however it ends. Raises Problem 429."""
        self.take(user)
        try:
            yield
        finally:
            self.leave(user)


class Watched(StreamingResponse):
    """A stream that is counted until it is closed."""

    def __init__(self, streams: Streams, user: str, content: AsyncGenerator[str]) -> None:
        self._streams, self._user = streams, user
        super().__init__(content, headers=HEADERS, media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises Problem 429 before anything is sent."""
        with self._streams.held(self._user):
            await super().__call__(scope, receive, send)


async def watch(
    database: Database, run: str, who: Caller, *, every: float = EVERY, beat: float = BEAT, longest: float = LONGEST
) -> AsyncGenerator[str]:
    """Events `progress` whenever something changed, until the run is over or not to be seen; comments in between."""
    began = spoken = time.monotonic()
    last: dict[str, Any] | None = None
    number = 0
    yield "retry: 2000\n\n"
    while time.monotonic() - began < longest:
        try:
            told = await run_in_threadpool(_look, database, run, who)
        except SQLAlchemyError:  # busy or restarting: it is asked again
            told = last or {}
        if told is None:
            return
        if told != (last or {}):
            last, spoken, number = told, time.monotonic(), number + 1
            yield f"id: {number}\nevent: progress\ndata: {json.dumps(told)}\n\n"
        elif time.monotonic() - spoken >= beat:
            spoken = time.monotonic()
            yield ": still here\n\n"
        if told.get("state") in FINAL:
            return
        await asyncio.sleep(every)


def _look(database: Database, run: str, who: Caller) -> dict[str, Any] | None:
    """What is told of a run; None where it is gone, or no longer theirs to see."""
    with database.reading() as session:
        found = session.get(Run, run)
        if found is None or not _may(session, found.project_id, who):
            return None
        job = job_of(session, run)
        progress = job.progress if job else {}
        told = {key: progress.get(key) for key in TOLD}
        return {"state": found.state, **told, "error": job.error if job else ""}


def _may(session: Session, project: str, who: Caller) -> bool:
    """Whether they still are a member who may sign in, and still are signed in where they came with a browser."""
    asked = select(User.id).join(Membership, Membership.user_id == User.id)
    asked = asked.where(User.id == who.user_id, User.disabled.is_(False), Membership.project_id == project)
    if session.execute(asked).first() is None:
        return False
    if who.session is None:
        return True
    one = session.get(SignedIn, who.session)
    return one is not None and one.expires > now()
