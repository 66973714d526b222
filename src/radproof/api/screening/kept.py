# SPDX-License-Identifier: Apache-2.0
"""One model that is kept open: its process, the queue before it, and what becomes of an answer that does not come."""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from radproof.api.http.problems import Problem
from radproof.api.screening.screened import Nonsense, Opened, Said, parsed
from radproof.api.screening.spool import Spool
from radproof.core.guard import Limits
from radproof.core.guard_memory import guard_memory
from radproof.core.resident import Gone, Resident, Silent
from radproof.errors import BadInput

TASK = "radproof.assess.screen_server:serve"
MEMORY, SHARE = 8_000_000_000, 0.75  # bytes that one process may hold: so many, and such a share of the machine's
_ANEW = "; the next image starts it anew"
_RETRY = {"Retry-After": "5"}


@dataclass(frozen=True)
class Patience:
    """Seconds that are waited, at most."""

    opening: float = 45.0  # by one request, for a model that opens; it goes on opening
    open: float = 240.0  # until a model that opens is given up
    turn: float = 60.0  # in the queue
    image: float = 30.0  # for one image


class FailedToOpen(Exception):
    """The model or its guard cannot be used; in words."""


class Kept:
    """A model's process and its queue of one at a time."""

    def __init__(
        self,
        guard_id: str,
        spool: Spool,
        model: Path,
        guard: Path,
        *,
        read: Sequence[Path],
        threads: int,
        patience: Patience,
        task: str,
        paths: Sequence[Path],
    ) -> None:
        """Start it in a room of the spool. `read`: what it may read besides that and the guard."""
        room = spool.room()
        self.guard_id, self.waiting = guard_id, 0
        self._spool, self._room, self._image, self._patience = spool, room, room / "image", patience
        self._turn, self._first, self._number = Lock(), None, 0
        self._began = time.monotonic()
        arguments = {"model": str(model), "guard": str(guard), "image": str(self._image), "threads": threads}
        try:
            limits = Limits(memory=guard_memory(MEMORY, share=SHARE), cpu=None, wall=None)
            self._resident = Resident(task, arguments, room, read=[room, guard, *read], limits=limits, paths=paths)
        except BaseException:
            spool.leave(room)
            raise

    @property
    def alive(self) -> bool:
        """Whether it may still answer."""
        return self._resident.alive

    def serves(self, guard_id: str) -> bool:
        """Whether this is the guard that is asked for, and its process is there."""
        return self.alive and guard_id == self.guard_id

    def judge(self, image: Path, view: str | None) -> tuple[Opened, Said]:
        """One image, in turn. Raises FailedToOpen, Problem 503 and, where the model is broken, 422."""
        if not self._turn.acquire(timeout=self._patience.turn):
            raise Problem(503, "this model's queue does not move; come back in 5 s", headers=_RETRY)
        try:
            opened = self._opened()
            said = self._asked(image, view)
        except (Silent, Gone, Nonsense) as error:
            self.close()
            raise self._ended(error) from None
        finally:
            self._turn.release()
        if said.broken:
            raise Problem(422, said.broken)
        return opened, said

    def close(self) -> None:
        """End the process; the image that it was judging, if any, is gone too."""
        self._resident.close()
        self._spool.leave(self._room)

    def _opened(self) -> Opened:
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
                raise FailedToOpen(str(error)) from None
            raise
        self._first = parsed(Opened, line)
        return self._first

    def _asked(self, image: Path, view: str | None) -> Said:
        self._number += 1
        try:
            _put(image, self._image)
            said = parsed(Said, self._resident.ask({"number": self._number, "view": view}, self._patience.image))
        finally:
            self._image.unlink(missing_ok=True)
        if said.number != self._number:
            raise Nonsense("it answered out of turn")
        return said

    def _ended(self, error: Exception) -> Problem:
        """In words: what happened to the process."""
        own = self._resident.error
        if own is not None and "was stopped: " in str(own):  # the guard's own words; others may repeat the file's
            return Problem(503, f"the image was not judged: {own}{_ANEW}", headers=_RETRY)
        if isinstance(error, Silent):
            seconds = f"{self._patience.image:g} s"
            return Problem(503, f"the image was not judged within {seconds}, and its process was ended{_ANEW}")
        return Problem(503, f"the image was not judged: {error}, and its process was ended{_ANEW}", headers=_RETRY)


def _put(image: Path, place: Path) -> None:
    """The same file under the name that the process knows; a copy where the disk has no second names."""
    try:
        os.link(image, place)
    except OSError:
        made = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "wb") as copy, image.open("rb") as source:
            shutil.copyfileobj(source, copy, 1 << 20)
