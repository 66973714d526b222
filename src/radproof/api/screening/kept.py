# SPDX-License-Identifier: Apache-2.0
"""One model that is kept open to screen: its process and the queue before it."""

import os
import shutil
from functools import partial
from pathlib import Path

from radproof.api.http.problems import Problem
from radproof.api.screening.answers import Opened, Said
from radproof.api.screening.held import Held, Patience, Task
from radproof.api.screening.spool import Spool


class Kept:
    """A model with one guard."""

    def __init__(self, guard_id: str, task: Task, spool: Spool, patience: Patience) -> None:
        """Start it in a room of the spool."""
        self.guard_id, self.waiting = guard_id, 0
        self._held = Held(Opened, task, spool, patience, "the image was not judged")

    @property
    def alive(self) -> bool:
        """Whether it may still answer."""
        return self._held.alive

    def serves(self, version: str) -> bool:
        """Whether this is the guard that is asked for, and its process is there."""
        return self.alive and version == self.guard_id

    def judge(self, image: Path, view: str | None) -> tuple[Opened, Said]:
        """One image, in turn. Raises FailedToOpen, Problem 503 and, where the model is broken, 422."""
        with self._held.turn() as opened:
            said = self._held.ask(Said, {"view": view}, partial(_put, image))
        if said.broken:
            raise Problem(422, said.broken)
        return opened, said

    def close(self) -> None:
        """End the process; the image that it was judging, if any, is gone too."""
        self._held.close()


def _put(image: Path, place: Path) -> None:
    """The same file under the name that the process knows; a copy where the disk has no second names."""
    try:
        os.link(image, place)
    except OSError:
        made = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "wb") as copy, image.open("rb") as source:
            shutil.copyfileobj(source, copy, 1 << 20)
