# SPDX-License-Identifier: Apache-2.0
"""The model of a run that is kept open to draw, in a guarded process; what it draws comes as grey levels, checked."""

import base64
import binascii
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import BoundedSemaphore, Lock, Timer
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radproof.api.http.problems import Problem
from radproof.api.screening.answers import Nonsense, Piece, Ready, Sketch
from radproof.api.screening.held import Held, Patience, Task
from radproof.api.screening.pool import COME_BACK, Pool
from radproof.api.screening.spool import Spool
from radproof.store.settings import Settings

DRAW = "radproof.assess.draw_server:serve"
MOST_OPEN = 1  # each holds about 1 GB
REST = 300.0  # seconds without a picture, after which it is closed
MOST_WAITING = 8  # pictures, the one that is drawn among them
MOST_ASKING = (
    16  # requests in all, those who wait for what another one asked for too: each holds a thread of the server
)


@dataclass(frozen=True)
class Subject:
    """Whose pictures are drawn."""

    name: str  # of the model, or of the run that trained it
    model: Path
    folder: Path  # all that the process may read of it
    fingerprint: str  # as the run assessed it
    labels: tuple[str, ...]
    state: str = ""  # of its file, now

    @property
    def version(self) -> str:
        """What has to be the same for a process to serve again."""
        return "\n".join((self.fingerprint, self.state, *self.labels))


class Drawer:
    """One model's process."""

    def __init__(self, version: str, task: Task, spool: Spool, patience: Patience) -> None:
        self.waiting, self._version, self._patience = 0, version, patience
        self._held = Held(Ready, task, spool, patience, "the picture was not drawn")

    @property
    def alive(self) -> bool:
        """Whether it may still answer."""
        return self._held.alive

    def serves(self, version: str) -> bool:
        """Whether it is there, and drew of the same model."""
        return self.alive and version == self._version

    def draw(
        self, content: Callable[[], bytes], question: Mapping[str, Any], size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """(H, W, 1 or 3) of a stored image of that height and width, which is read once its turn has come.

        Raises FailedToOpen, Problem 422 and 503, and what `content` raises.
        """
        with self._held.turn():
            due = time.monotonic() + self._patience.image
            sketch = self._held.ask(Sketch, question, partial(_put, content))
            if sketch.refusal:
                raise Problem(422, f"this picture cannot be drawn: {sketch.refusal}")
            if (sketch.height, sketch.width) != size or not sketch.channels:
                raise Nonsense("its picture has another size than the image")
            raw = self._bytes(size[0] * size[1] * sketch.channels, due)
        return np.frombuffer(raw, np.uint8).reshape(*size, sketch.channels)

    def close(self) -> None:
        """End the process."""
        self._held.close()

    def _bytes(self, wanted: int, due: float) -> bytes:
        """Exactly so many. Raises Nonsense, Silent, Gone."""
        raw = bytearray()
        while len(raw) < wanted:
            said = self._held.more(Piece, max(0.0, due - time.monotonic()))
            try:
                raw += base64.b64decode(said.piece, validate=True)
            except binascii.Error:
                raise Nonsense("its picture is not in order") from None
        if len(raw) > wanted:
            raise Nonsense("its picture has more bytes than its size says")
        return bytes(raw)


class Drawers:
    """They share the spool of those that screen, and take no place from them."""

    def __init__(self, settings: Settings, spool: Spool) -> None:
        self.task, self.paths = DRAW, list[Path]()  # what a process does and where it is imported from, for tests
        self.patience = Patience()
        self.rest: float | None = REST
        self._settings, self._spool = settings, spool
        self._pool: Pool[Drawer] = Pool(MOST_OPEN, MOST_WAITING, "draw")
        self._places, self._asking = BoundedSemaphore(MOST_WAITING), BoundedSemaphore(MOST_ASKING)
        self._lock = Lock()
        self._timer: Timer | None = None

    def place(self) -> AbstractContextManager[None]:
        """One picture of those that wait. Raises Problem 429 where there are too many."""
        return _one_of(self._places)

    def asking(self) -> AbstractContextManager[None]:
        """One request of those that wait for a picture. Raises Problem 429 where there are too many."""
        return _one_of(self._asking)

    def draw(
        self, subject: Subject, content: Callable[[], bytes], question: Mapping[str, Any], size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """One picture of a stored image; blocks until it is there. Raises Problem 422, 429, 503."""
        self._stay()
        try:
            with self._pool.entered(subject.name, subject.version, lambda: self._start(subject)) as drawer:
                return drawer.draw(content, question, size)
        finally:
            self._stay(self.rest)

    def end(self, name: str) -> None:
        """End a model's process: it was removed or changed."""
        self._pool.end(name)

    def close(self) -> None:
        """End all."""
        self.rest = None
        self._stay()
        self._pool.close()

    def _stay(self, seconds: float | None = None) -> None:
        """Close what is idle in so many seconds, unless something is drawn before; None: not at all."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None
            if seconds is not None:
                self._timer = Timer(seconds, self._pool.end_idle)
                self._timer.daemon = True
                self._timer.start()

    def _start(self, subject: Subject) -> Drawer:
        labels: Sequence[str] = list(subject.labels)
        told = {"model": str(subject.model), "fingerprint": subject.fingerprint, "labels": labels}
        given = {**told, "threads": self._settings.threads}
        task = Task(self.task, given, [subject.folder], self.paths, self._settings.screening_models + MOST_OPEN)
        return Drawer(subject.version, task, self._spool, self.patience)


@contextmanager
def _one_of(places: BoundedSemaphore) -> Generator[None]:
    if not places.acquire(blocking=False):
        raise Problem(429, "many pictures are being drawn; come back in 2 s", headers=COME_BACK)
    try:
        yield
    finally:
        places.release()


def _put(content: Callable[[], bytes], place: Path) -> None:
    image = content()
    made = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(made, "wb") as file:
        file.write(image)
