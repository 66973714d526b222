# SPDX-License-Identifier: Apache-2.0
"""Closed doors: nobody looks up the answers of a reader test that they are in the middle of.

One dependency of the whole application, before every route: an address that names a finished run, in its path or its
query, is refused while the caller has an unfinished test on it. A route made later is closed without doing anything.
What shows no more than how far a run is stays open (`OPEN`).

It also notes in the trail, once per person and run, that somebody opened images of a run: whoever begins a test later
knew them. Where that cannot be noted, nothing is shown. Routes that show none are not noted (`PLAIN`); all others are.
"""

from threading import Lock

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from radproof.api.http.problems import Problem
from radproof.api.people.access import Caller
from radproof.api.readers.taking import MIDDLE, VIEW, unfinished, ways
from radproof.api.service import Service, service
from radproof.store.ids import is_id
from radproof.store.tables import Event, Run

OPEN = ("/api/v1/runs/{id}", "/api/v1/runs/{id}/events")  # by GET
PLAIN = ("/runs/{id}", "/runs/{id}/moment", "/api/v1/runs/{id}/result")  # figures, no image
LOOKS = ("GET", "HEAD")
UNNOTED = "that you open this run cannot be noted in the trail now, so it is not shown; come back in 5 s"
RETRY = {"Retry-After": "5"}
MOST = 10_000  # people and runs that are remembered as noted


class Closing:
    """Of one application."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._noted: set[tuple[str, str]] = set()

    async def __call__(self, request: Request) -> None:
        """Before a route. Raises Problem 403, 503."""
        who: Caller | None = getattr(request.state, "caller", None)
        named = {str(one) for one in request.path_params.values() if is_id(str(one), "run")}
        asked = {one for one in request.query_params.values() if is_id(one, "run")}
        if who is None or not named | asked:
            return
        looks, path = request.method in LOOKS, request.scope["path"]
        if looks and path in _addresses(OPEN, named):
            return
        seen = named if looks and path not in _addresses(PLAIN, named) else set[str]()
        await run_in_threadpool(self._check, service(request), who, named | asked, seen)

    def _check(self, here: Service, who: Caller, names: set[str], seen: set[str]) -> None:
        with here.database.reading() as session:
            found = [run for name in names if (run := _finished(session, name, who)) is not None]
            for run in found if who.may("clinician") else ():  # others can neither go on with a test nor end it
                test = unfinished(session, run, who.user_id)
                if test is not None:
                    raise Problem(403, MIDDLE, links=ways(test.id))
        for run in found:
            if run.id in seen:
                self._note(here, who, run)

    def _note(self, here: Service, who: Caller, run: Run) -> None:
        """Once. Raises Problem 503 where the database cannot be written to now: a look that nobody noted is none."""
        key = who.user_id, run.id
        if key in self._noted:
            return
        told = select(Event.number).where(Event.object == run.id, Event.actor == who.user_id, Event.action == VIEW)
        with here.database.reading() as session:
            noted = session.execute(told.limit(1)).first() is not None
        try:
            if not noted:
                with self._lock, here.database.writing() as session:
                    if session.execute(told.limit(1)).first() is None:
                        own = {"actor": who.user_id, "object": run.id, "project": run.project_id}
                        here.trail.add(session, VIEW, **own)
        except OperationalError:
            raise Problem(503, UNNOTED, headers=RETRY) from None
        if len(self._noted) >= MOST:
            self._noted.clear()
        self._noted.add(key)


def _finished(session: Session, name: str, who: Caller) -> Run | None:
    """A run that is done, in the caller's projects; the route itself says what else there is to say of a name."""
    run = session.get(Run, name)
    return run if run is not None and run.state == "done" and run.project_id in who.projects else None


def _addresses(templates: tuple[str, ...], names: set[str]) -> set[str]:
    return {one.replace("{id}", name) for one in templates for name in names}
