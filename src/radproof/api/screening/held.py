# SPDX-License-Identifier: Apache-2.0
"""A guarded process in a room of its own, asked by one at a time; and what becomes of an answer that does not come."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

from radproof.api.http.problems import Problem
from radproof.api.screening.answers import Nonsense, Numbered, parsed
from radproof.api.screening.spool import Spool
from radproof.core.guard import Limits
from radproof.core.guard_memory import guard_memory
from radproof.core.records import Record
from radproof.core.resident import Gone, Resident, Silent
from radproof.errors import BadInput
from radproof.jobs.doing import scrub

MEMORY, SHARE = 8_000_000_000, 0.75  # bytes that one process may hold; share of the machine's that all may together
_ANEW = "; the next image starts it anew"
_RETRY = {"Retry-After": "5"}
T = TypeVar("T", bound=Record)
S = TypeVar("S", bound=Numbered)


@dataclass(frozen=True)
class Patience:
    """Seconds that are waited, at most."""

    opening: float = 45.0  # by one request, for a model that opens; it goes on opening
    open: float = 240.0  # until a model that opens is given up
    turn: float = 60.0  # in the queue
    image: float = 30.0  # for one image


@dataclass(frozen=True)
class Task:
    """What a process does, where that is imported from, and what it may read."""

    name: str
    arguments: Mapping[str, Any]
    read: Sequence[Path]
    paths: Sequence[Path] = ()
    among: int = 1  # processes that may be open at a time, itself too: each has its part of the memory


class FailedToOpen(Exception):
    """The model or its guard cannot be used; in words."""


class Held(Generic[T]):
    """One process. Its first words are a T; `failed` says what did not happen where it fails later."""

    def __init__(self, first: type[T], task: Task, spool: Spool, patience: Patience, failed: str) -> None:
        room = spool.room()
        self._kind, self._failed, self._patience = first, failed, patience
        self._spool, self._room, self._image, self._task = spool, room, room / "image", task
        self._turn, self._number = Lock(), 0
        self._first: T | None = None
        self._began = time.monotonic()
        given = {**task.arguments, "image": str(self._image)}
        try:
            limits = Limits(memory=guard_memory(MEMORY, share=SHARE / task.among), cpu=None, wall=None)
            read = [room, *task.read]
            self._resident = Resident(task.name, given, room, read=read, limits=limits, paths=task.paths)
        except BaseException:
            spool.leave(room)
            raise

    @property
    def alive(self) -> bool:
        """Whether it may still answer."""
        return self._resident.alive

    @contextmanager
    def turn(self) -> Generator[T]:
        """One request's turn, with the first words. Raises FailedToOpen, Problem 503; a process that fails is ended."""
        if not self._turn.acquire(timeout=self._patience.turn):
            raise Problem(503, "this model's queue does not move; come back in 5 s", headers=_RETRY)
        try:
            yield self._opened()
        except (Silent, Gone, Nonsense) as error:
            self.close()
            raise self._ended(error) from None
        finally:
            self._turn.release()

    def ask(self, kind: type[S], question: Mapping[str, Any], put: Callable[[Path], None]) -> S:
        """An answer about the image that `put` lays down; within `turn`. Raises Silent, Gone, Nonsense."""
        self._number += 1
        try:
            put(self._image)
            asked = {"number": self._number, **question}
            return self._in_turn(parsed(kind, self._resident.ask(asked, self._patience.image)))
        finally:
            self._image.unlink(missing_ok=True)

    def more(self, kind: type[S], seconds: float) -> S:
        """The next line of an answer that has several."""
        return self._in_turn(parsed(kind, self._resident.hear(seconds)))

    def close(self) -> None:
        """End the process; the image that it worked on, if any, is gone too."""
        self._resident.close()
        self._spool.leave(self._room)

    def _in_turn(self, said: S) -> S:
        if said.number != self._number:
            raise Nonsense("it answered out of turn")
        return said

    def _opened(self) -> T:
        if self._first is not None:
            return self._first
        try:
            line = self._resident.hear(self._patience.opening)
        except Silent:
            if time.monotonic() - self._began > self._patience.open:
                raise
            raise Problem(503, "the model is being opened; come back in 5 s", headers=_RETRY) from None
        except Gone:
            error = self._resident.error
            if isinstance(error, BadInput):
                raise FailedToOpen(self._plain(str(error))) from None
            raise
        self._first = parsed(self._kind, line)
        return self._first

    def _ended(self, error: Exception) -> Problem:
        """In words: what happened to the process."""
        own = self._resident.error
        if own is not None and "was stopped: " in str(own):  # the guard's own words; others may repeat the file's
            return Problem(503, f"{self._failed}: {self._plain(str(own))}{_ANEW}", headers=_RETRY)
        if isinstance(error, Silent):
            seconds = f"{self._patience.image:g} s"
            return Problem(503, f"{self._failed} within {seconds}, and its process was ended{_ANEW}")
        return Problem(
            503, f"{self._failed}: {self._plain(str(error))}, and its process was ended{_ANEW}", headers=_RETRY
        )

    def _plain(self, text: str) -> str:
        """A sentence without the server's paths: what the process was given is called what it is."""
        named = {value: f"the {name}" for name, value in self._task.arguments.items() if isinstance(value, str)}
        names = {path: words for path, words in named.items() if path.startswith("/")}
        names = {
            **{str(path): "its folder" for path in self._task.read},
            str(self._room): "its folder",
            str(self._image): "the image",
            **names,
        }
        for path in sorted(names, key=len, reverse=True):
            text = text.replace(path, names[path])
        return scrub(text, self._spool.root.parent)
