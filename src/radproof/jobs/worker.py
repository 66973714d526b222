# SPDX-License-Identifier: Apache-2.0
"""A worker: shows that it lives, takes over what lost ones held, and does jobs that the engine hands it."""

import fcntl
import logging
from collections.abc import Generator
from contextlib import contextmanager, suppress
from threading import BoundedSemaphore, Event, Lock
from time import monotonic
from typing import Any

from sqlalchemy import delete, select

from radproof.errors import BadInput
from radproof.jobs.doing import Doing, Lease
from radproof.jobs.ending import release
from radproof.jobs.engine import Engine, Released
from radproof.jobs.leftovers import forget_failed
from radproof.jobs.patience import AWAY, GaveUp, patiently
from radproof.jobs.silence import Silence
from radproof.jobs.states import HELD, Conflict
from radproof.jobs.waiting import Waiting, workflow_id
from radproof.store.database import Database
from radproof.store.settings import Settings
from radproof.store.tables import Job, now
from radproof.store.tables import Worker as Row

TICK = 1.0  # seconds between signs of life
FORGET = 3600.0  # seconds between looks for uploads that were kept long enough
UNHELD = 5.0  # seconds that something of ours may be held by none of our threads
NAMED = 20.0  # seconds to wait for the name, which an earlier life may still have
END = 7.0  # seconds for all jobs to be given back
log = logging.getLogger(__name__)


class Worker:
    """One process of it per name and home."""

    def __init__(self, settings: Settings, *, at_once: int = 1) -> None:
        self.settings, self.name = settings, settings.worker_name
        self.stop = Event()
        self._database = Database(settings.database_url)
        self._doing = Doing(settings, self._database, self.name, self.stop)
        self._engine = Engine(settings.jobs_url, self.name, at_once, self.work)
        self._silence = Silence()
        self._leases: dict[str, Lease] = {}
        self._unheld: dict[str, float] = {}  # since when
        self._places = BoundedSemaphore(at_once)  # the engine counts too, but by what it remembers
        self._lock = Lock()
        self._began = now()
        self._forget_at = 0.0

    def run(self) -> None:
        """Until `stop` is set. Raises BadInput where another process goes by this name."""
        (self.settings.home / "workers").mkdir(parents=True, exist_ok=True)
        with self._alone(), suppress(GaveUp):
            patiently(self._database.migrate, self.stop)
            patiently(self._free_ours, self.stop)
            waiting = patiently(lambda: Waiting(self.settings.jobs_url), self.stop)
            self._start_engine()
            log.info("worker %s is at work", self.name)
            try:
                while True:
                    self._look_after(waiting)
                    if self.stop.wait(TICK):
                        break
            finally:
                self._close(waiting)

    def work(self, job: str, attempt: int) -> dict[str, Any]:
        """What the engine calls, in a thread: one attempt of a job, to its end. Raises Released."""
        lease = self._hold(Lease(job, attempt))
        try:
            with self._place(lease):
                if not self._doing.take(lease):
                    return {"state": "not ours", "code": 0}
                log.info("%s begins, attempt %d", job, attempt)
                told = self._engine.step(lambda: self._doing.command(lease))
                return self._doing.end(lease, told)
        except Exception as error:
            if isinstance(error, AWAY):
                raise Released from None
            log.warning("%s broke: %s", job, type(error).__name__)
            told = {"code": 3, "stdout": "", "error": f"something inside went wrong ({type(error).__name__})"}
            return self._doing.end(lease, {**told, "stopped": False})
        finally:
            with self._lock:
                self._leases.pop(workflow_id(job, attempt), None)
            lease.over.set()

    def _hold(self, lease: Lease) -> Lease:
        """Only one thread at a time holds an attempt: an earlier one gives it up first."""
        name = workflow_id(lease.job, lease.attempt)
        while True:
            with self._lock:
                before = self._leases.get(name)
                if before is None:
                    self._leases[name] = lease
                    return lease
            before.dropped.set()
            before.over.wait()

    @contextmanager
    def _place(self, lease: Lease) -> Generator[None]:
        """No more than so many at once. Raises Released where the worker ends, or the job is given up, before that."""
        while not self._places.acquire(timeout=0.1):
            if self.stop.is_set() or lease.dropped.is_set():
                raise Released
        try:
            yield
        finally:
            self._places.release()

    def _start_engine(self) -> None:
        pause = TICK
        while True:
            try:
                return self._engine.start()
            except Exception as error:
                log.warning("the engine does not start (%s); trying again", type(error).__name__)
                self._engine.close()
            if self.stop.wait(pause):
                raise GaveUp
            pause = min(2 * pause, 30.0)

    def _look_after(self, waiting: Waiting) -> None:
        try:
            self._beat()
            self._sweep(waiting)
            self._forget()
        except AWAY:
            return  # those who work notice it, and wait
        except Exception as error:
            log.warning("what others left could not be looked after (%s: %s)", type(error).__name__, error)

    def _forget(self) -> None:
        if monotonic() >= self._forget_at:
            self._forget_at = monotonic() + FORGET
            if count := forget_failed(self.settings, self._database, self.name):
                log.info("%d uploads of failed imports are removed", count)

    def _beat(self) -> None:
        with self._database.writing() as session:
            row = session.get(Row, self.name) or Row(name=self.name)
            row.started, row.seen = self._began, now()
            session.add(row)

    def _free_ours(self) -> None:
        """What an earlier life of this worker held waits again, before the engine hands anything out."""
        with self._database.reading() as session:
            held = session.execute(select(Job.id, Job.attempt).where(Job.state.in_(HELD), Job.worker == self.name))
            ours = list(held)
        for job, attempt in ours:
            self._release(self.name, job, attempt)

    def _sweep(self, waiting: Waiting) -> None:
        """Whatever a crash left half done is put right."""
        at = monotonic()
        with self._database.reading() as session:
            asked = select(Job.id, Job.attempt, Job.priority, Job.state, Job.worker)
            rows = session.execute(asked.where(Job.state.in_(("queued", *HELD)))).all()
            signs = {name: str(seen) for name, seen in session.execute(select(Row.name, Row.seen))}
        queued = [(job, attempt, priority) for job, attempt, priority, state, _ in rows if state == "queued"]
        placed = waiting.placed([workflow_id(job, attempt) for job, attempt, _ in queued])
        holders = {holder for *_, state, holder in rows if state in HELD}
        holders |= {one.executor for one in placed.values() if one.status == "PENDING"}
        lost = self._silence.look(holders - {self.name}, signs, at)
        ours = [(workflow_id(job, attempt), w) for job, attempt, _, state, w in rows if state in HELD]
        unheld = self._unheld_of(
            [name for name, holder in ours if holder == self.name]
            + [name for name, one in placed.items() if one.status == "PENDING" and one.executor == self.name],
            at,
        )
        for job, attempt, _, state, holder in rows:
            gone = holder in lost or (holder == self.name and workflow_id(job, attempt) in unheld)
            if state in HELD and gone:
                self._release(holder, job, attempt)
        for job, attempt in waiting.put(queued, lambda executor, name: executor in lost or name in unheld):
            self._renew(job, attempt)

    def _unheld_of(self, names: list[str], at: float) -> set[str]:
        with self._lock:
            free = [name for name in names if name not in self._leases]
        self._unheld = {name: self._unheld.get(name, at) for name in free}
        return {name for name, since in self._unheld.items() if at - since >= UNHELD}

    def _release(self, holder: str, job: str, attempt: int) -> None:
        with suppress(Conflict):
            state = release(self._database, self.settings, holder, job, attempt)
            log.warning("%s was held by %s, which is gone: %s", job, holder, state)

    def _renew(self, job: str, attempt: int) -> None:
        """A job waits, and its workflow is over: it gets another one."""
        with self._database.writing() as session:
            found = session.get(Job, job)
            if found is not None and found.state == "queued" and found.attempt == attempt:
                found.attempt += 1

    def _close(self, waiting: Waiting) -> None:
        """Give back what is held, and say good-bye."""
        self.stop.set()
        with self._lock:
            held = dict(self._leases)
        ends = monotonic() + END
        for lease in held.values():
            lease.over.wait(max(0.0, ends - monotonic()))
        with suppress(Exception):
            ours = Job.id.in_([lease.job for lease in held.values()])
            with self._database.reading() as session:
                asked = select(Job.id, Job.attempt, Job.priority).where(Job.state == "queued", ours)
                queued = session.execute(asked).all()
            waiting.put(queued, lambda executor, name: executor == self.name and name in held)
            with self._database.writing() as session:
                session.execute(delete(Row).where(Row.name == self.name))
        with suppress(Exception):
            self._engine.close()
            waiting.close()
            self._database.close()
        log.info("worker %s has ended", self.name)

    @contextmanager
    def _alone(self) -> Generator[None]:
        path = self.settings.home / "workers" / f"{self.name}.lock"
        ends = monotonic() + NAMED
        with path.open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if monotonic() > ends or self.stop.wait(0.1):
                        raise BadInput(
                            f"a worker called {self.name} is at work already; give this one another --name"
                        ) from None
            yield
