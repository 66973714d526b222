# SPDX-License-Identifier: Apache-2.0
"""Guarded processes that are kept open, each with a queue: at most so many, and who rested longest is closed first."""

import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Lock
from typing import Generic, Protocol, TypeVar

from radproof.api.http.problems import Problem
from radproof.api.screening.held import FailedToOpen

RETRY = 10.0  # seconds in which a model that could not be opened is not tried again
COME_BACK = {"Retry-After": "2"}
MOST_FAILED = 1000  # that are remembered


class Keepable(Protocol):
    """One that is kept."""

    waiting: int  # requests that were let in

    @property
    def alive(self) -> bool:
        """Whether it may still answer."""
        ...

    def serves(self, version: str) -> bool:
        """Whether it is there, and of this version."""
        ...

    def close(self) -> None:
        """End its process."""
        ...


H = TypeVar("H", bound=Keepable)


class Pool(Generic[H]):
    """At most `most` at a time, with at most `queue` requests before each; `purpose` is what it is opened for."""

    def __init__(self, most: int, queue: int, purpose: str) -> None:
        self.kept: OrderedDict[str, H] = OrderedDict()
        self._most, self._queue, self._purpose = most, queue, purpose
        self._failed: OrderedDict[tuple[str, str], tuple[float, str]] = OrderedDict()
        self._lock = Lock()
        self._closed = False

    @contextmanager
    def entered(self, name: str, version: str, start: Callable[[], H]) -> Generator[H]:
        """A place in the queue of the one of that name, started where it is not open in this version.

        Raises Problem 422 for one that cannot be opened, 429 where too many wait, 503 once this is closed.
        """
        kept = self._enter(name, version, start)
        try:
            yield kept
        except FailedToOpen as error:
            with self._lock:
                self._failed[name, version] = time.monotonic() + RETRY, str(error)
                while len(self._failed) > MOST_FAILED:
                    self._failed.popitem(last=False)
            raise self._unopened(str(error)) from None
        finally:
            with self._lock:
                kept.waiting -= 1

    def end(self, name: str) -> None:
        """Close one, if it is there."""
        with self._lock:
            kept = self.kept.pop(name, None)
        if kept:
            kept.close()

    def end_idle(self) -> None:
        """Close those that nobody waits for."""
        with self._lock:
            names = [name for name, kept in self.kept.items() if not kept.waiting]
            idle = [self.kept.pop(name) for name in names]
        for one in idle:
            one.close()

    def close(self) -> None:
        """Close all; nobody is let in any more."""
        with self._lock:
            self._closed = True
            kept = [*self.kept.values()]
            self.kept.clear()
        for one in kept:
            one.close()

    def _enter(self, name: str, version: str, start: Callable[[], H]) -> H:
        ended: list[H] = []
        try:
            with self._lock:
                if self._closed:
                    raise Problem(503, "the server is stopping; come back in a moment", headers=COME_BACK)
                self._check_failed(name, version)
                kept = self.kept.get(name)
                if kept and not kept.serves(version):
                    ended.append(self.kept.pop(name))
                    kept = None
                if kept is None:
                    ended += self._make_room()
                    kept = self.kept[name] = start()
                if kept.waiting > self._queue:
                    raise Problem(429, "too many images wait for this model; come back in 2 s", headers=COME_BACK)
                kept.waiting += 1
                self.kept.move_to_end(name)
                return kept
        finally:
            for one in ended:
                one.close()

    def _make_room(self) -> list[H]:
        """Those that rested longest, taken out."""
        taken: list[H] = []
        while len(self.kept) >= self._most:
            name = next((name for name, kept in self.kept.items() if not kept.waiting or not kept.alive), None)
            if name is None:
                told = "all models that may be open are at work for others; come back in 2 s"
                raise Problem(429, told, headers=COME_BACK)
            taken.append(self.kept.pop(name))
        return taken

    def _check_failed(self, name: str, version: str) -> None:
        until, told = self._failed.get((name, version), (0.0, ""))
        if until > time.monotonic():
            raise self._unopened(told)
        self._failed.pop((name, version), None)

    def _unopened(self, told: str) -> Problem:
        return Problem(422, f"the model cannot be opened to {self._purpose}: {told}")
