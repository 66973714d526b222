# SPDX-License-Identifier: Apache-2.0
"""One job from its beginning to its end: taken, done by a command, watched, and told."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, TypeVar

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from radproof.errors import RadproofError
from radproof.jobs.ending import end, release
from radproof.jobs.engine import Released
from radproof.jobs.kinds import Outcome, kind_of
from radproof.jobs.patience import AWAY, GaveUp, patiently
from radproof.jobs.process import Command
from radproof.jobs.progress import Meter
from radproof.jobs.states import HELD, Conflict, move
from radproof.jobs.threads import threads_of
from radproof.store.database import Database
from radproof.store.files import Files
from radproof.store.settings import Settings
from radproof.store.tables import Job, now

OFTEN = 1.0  # seconds between looks at the row
GRACE = 15.0  # seconds for a command that was cancelled or paused to end by itself
HURRY = 4.0  # the same where the worker ends
PATIENCE = 900.0  # seconds that another process may hold the folder
STARTS = 5  # in a row that the system may kill a command without any progress
BUSY = "another process is at work"
log = logging.getLogger(__name__)
R = TypeVar("R")


@dataclass
class Lease:
    """A job that this worker holds."""

    job: str
    attempt: int
    dropped: Event = field(default_factory=Event)  # it is to be given up
    over: Event = field(default_factory=Event)


class Doing:
    """How a worker does a job. `name`: the worker's; `stop`: set when it is to end."""

    def __init__(self, settings: Settings, database: Database, name: str, stop: Event) -> None:
        self.settings, self.database, self.name, self.stop = settings, database, name, stop
        self.files = Files(settings)

    def take(self, lease: Lease) -> bool:
        """Make it ours: the row says so. False where it is not to be done (any more)."""

        def once() -> bool:
            with self.database.writing() as session:
                job = session.get(Job, lease.job)
                if job is None:
                    return False
                began = job.started or now()
                try:
                    move(session, job, "take", attempt=lease.attempt, worker=self.name, started=began, error="")
                except Conflict:
                    return job.state in HELD and job.worker == self.name and job.attempt == lease.attempt
                kind_of(job.kind).follow(session, job)
                return True

        return self._patiently(once)

    def command(self, lease: Lease) -> dict[str, Any]:
        """Run the command, again where it was killed or found its folder held. Raises Released."""
        meter, kills, best, began = Meter(self._share(lease)), 0, (0, 0.0), monotonic()
        while True:
            if self._state(lease, meter) != "running":
                return _told(Outcome(130), stopped=True)
            try:
                arguments, threads = self._patiently(lambda: self._prepare(lease))
            except RadproofError as error:
                return _told(Outcome(error.exit_code, error=str(error)))
            command = Command(arguments, meter, folder=self.settings.home.resolve(), threads=threads)
            try:
                self._follow(lease, command)
            finally:
                outcome = command.close()
            if command.stopped and not self._wanted(lease):
                self._give_back(lease)
            if command.stopped or outcome.code in (0, 1):
                return _told(outcome, stopped=command.stopped)
            if BUSY in outcome.error and monotonic() - began < PATIENCE:
                pause = 1.0
            elif outcome.code < 0 and (kills := 1 if meter.furthest > best else kills + 1) < STARTS:
                best, pause = max(best, meter.furthest), 0.5 * kills
            else:
                return _told(outcome)
            self._rest(lease, pause)
            meter.again()

    def end(self, lease: Lease, told: dict[str, Any]) -> dict[str, Any]:
        """Write the outcome into the row, once."""
        home, stopped = self.settings.home.resolve(), bool(told["stopped"])
        outcome = Outcome(int(told["code"]), str(told["stdout"]), scrub(str(told["error"]), home))

        def once() -> str:
            return end(self.database, self.settings, self.name, lease.job, lease.attempt, outcome, stopped=stopped)

        state = self._patiently(once)
        log.info("%s ended: %s", lease.job, state)
        return {"state": state, "code": outcome.code}

    def _prepare(self, lease: Lease) -> tuple[list[str], int]:
        with self.database.writing() as session:
            job = session.get(Job, lease.job)
            if job is None:
                raise Released
            return kind_of(job.kind).prepare(session, job, self.settings, self.files), threads_of(self.settings, job.id)

    def _share(self, lease: Lease) -> float:
        """How far an earlier worker saw it."""

        def once() -> float:
            with self.database.reading() as session:
                told = session.execute(select(Job.progress).where(Job.id == lease.job)).scalar_one_or_none()
                share = told.get("share") if told else None
                return float(share) if isinstance(share, int | float) else 0.0

        return self._patiently(once)

    def _follow(self, lease: Lease, command: Command) -> None:
        looked, deadline = 0.0, float("inf")
        while not command.wait(0.1):
            at = monotonic()
            state = None
            if at - looked >= OFTEN:
                looked, state = at, self._state(lease, command.meter, patient=False)
            if not command.asked and (state in ("cancelling", "pausing") or not self._wanted(lease)):
                command.ask_to_end()
                deadline = at + (GRACE if self._wanted(lease) else HURRY)
            if command.asked and not self._wanted(lease):
                deadline = min(deadline, at + HURRY)
            if at > deadline:
                command.kill()
                deadline = float("inf")

    def _wanted(self, lease: Lease) -> bool:
        return not (self.stop.is_set() or lease.dropped.is_set())

    def _state(self, lease: Lease, meter: Meter, *, patient: bool = True) -> str | None:
        """Write the progress, and read what is asked of us; None: the database is away. Sets `dropped` on a loss."""

        def once() -> str:
            shown = meter.shown()  # while nobody waits for the database
            with self.database.writing() as session:
                return self._look(session, lease, shown)

        try:
            state = self._patiently(once) if patient else once()
        except AWAY:
            return None  # the command goes on meanwhile
        if state == "":
            lease.dropped.set()
            if patient:
                raise Released
        return state

    def _look(self, session: Session, lease: Lease, shown: dict[str, Any]) -> str:
        ours = (Job.id == lease.job, Job.worker == self.name, Job.attempt == lease.attempt, Job.state.in_(HELD))
        found = session.execute(select(Job.state, Job.progress).where(*ours)).one_or_none()
        if found is None:
            return ""
        if shown and found.progress != shown:
            session.execute(update(Job).where(*ours).values(progress=shown))
        return found.state

    def _give_back(self, lease: Lease) -> None:
        """The worker ends, or lost the job: nothing is recorded. Raises Released."""
        if not lease.dropped.is_set():
            try:
                release(self.database, self.settings, self.name, lease.job, lease.attempt)
            except (Conflict, *AWAY):
                log.warning("%s is left to be taken over", lease.job)
        raise Released

    def _rest(self, lease: Lease, seconds: float) -> None:
        ends = monotonic() + seconds
        while monotonic() < ends:
            if not self._wanted(lease):
                self._give_back(lease)
            self.stop.wait(0.1)

    def _patiently(self, do: Callable[[], R]) -> R:
        try:
            return patiently(do, self.stop)
        except GaveUp:
            raise Released from None


def scrub(text: str, home: Path) -> str:
    """A sentence without folders of the server."""
    return re.sub(r"(?<![\w/.:])/(?:[^\s/:;,'\"]+/)+", "", text.replace(f"{home}/", ""))


def _told(outcome: Outcome, *, stopped: bool = False) -> dict[str, Any]:
    return {"code": outcome.code, "stdout": outcome.stdout, "error": outcome.error, "stopped": stopped}
