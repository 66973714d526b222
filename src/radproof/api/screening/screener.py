# SPDX-License-Identifier: Apache-2.0
"""Models that are kept open to screen, each in a guarded process of its own."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from radproof.api.http.problems import Problem
from radproof.api.screening.kept import TASK, FailedToOpen, Kept, Patience
from radproof.api.screening.screened import Opened, Said
from radproof.api.screening.spool import Spool
from radproof.store.settings import Settings

RETRY = 10.0  # seconds in which a model that could not be opened is not tried again
_REFUSING = 4  # threads for those who find all places taken
_COME_BACK = {"Retry-After": "2"}


@dataclass(frozen=True)
class Opening:
    """What to open; names are those of the database."""

    model_id: str
    guard_id: str
    model: Path
    folder: Path  # all that the process may read of the model
    guard: Path


class Screeners:
    """At most so many at a time; the one that rested longest is closed first."""

    def __init__(
        self, settings: Settings, patience: Patience | None = None, *, task: str = TASK, paths: Sequence[Path] = ()
    ) -> None:
        """`task`: what a process does, for tests; `paths`: where it is imported from."""
        self.settings = settings
        self._patience, self._task, self._paths = patience or Patience(), task, paths
        self._spool = Spool(settings.folder("screening"))
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._failed: dict[tuple[str, str], tuple[float, str]] = {}
        self._lock = Lock()
        self._closed = False
        most = settings.screening_models * (settings.screening_queue + 1)  # that are judged or wait
        self.threads = ThreadPoolExecutor(most + _REFUSING, "screening")  # who waits here takes no thread from others

    def screen(self, opening: Opening, image: Path, view: str | None = None) -> tuple[Opened, Said]:
        """Judge one image; blocks until it is done.

        Raises Problem 422 for a model or guard that cannot be opened, 429 where too many wait, 503 for a process that
        took too long or ended: the next image starts it anew.
        """
        kept = self._enter(opening)
        try:
            return kept.judge(image, view)
        except FailedToOpen as error:
            self._failed[opening.model_id, opening.guard_id] = time.monotonic() + RETRY, str(error)
            raise Problem(422, f"the model cannot be opened to screen: {error}") from None
        finally:
            with self._lock:
                kept.waiting -= 1

    def inbox(self) -> Path:
        """A private folder where images arrive; what a killed server left there, the next one removes."""
        return self._spool.inbox()

    def close_model(self, model_id: str) -> None:
        """End one model's process, if there is one: it was removed or changed."""
        with self._lock:
            kept = self._kept.pop(model_id, None)
        if kept:
            kept.close()

    def close(self) -> None:
        """End their processes; nobody is answered any more."""
        with self._lock:
            self._closed = True
            kept = [*self._kept.values()]
            self._kept.clear()
        for one in kept:
            one.close()
        self.threads.shutdown(wait=False, cancel_futures=True)
        self._spool.close()

    def _enter(self, opening: Opening) -> Kept:
        """Take a place in a model's queue, and start it where it is not open."""
        ended: list[Kept] = []
        try:
            with self._lock:
                if self._closed:
                    raise Problem(503, "the server is stopping; come back in a moment", headers=_COME_BACK)
                self._check_failed(opening)
                kept = self._kept.get(opening.model_id)
                if kept and not kept.serves(opening.guard_id):
                    ended.append(self._kept.pop(opening.model_id))
                    kept = None
                if kept is None:
                    ended += self._make_room()
                    kept = self._kept[opening.model_id] = self._start(opening)
                if kept.waiting > self.settings.screening_queue:
                    raise Problem(429, "too many images wait for this model; come back in 2 s", headers=_COME_BACK)
                kept.waiting += 1
                self._kept.move_to_end(opening.model_id)
                return kept
        finally:
            for one in ended:
                one.close()

    def _make_room(self) -> list[Kept]:
        """Those that rested longest, taken out."""
        taken: list[Kept] = []
        while len(self._kept) >= self.settings.screening_models:
            name = next((name for name, kept in self._kept.items() if not kept.waiting or not kept.alive), None)
            if name is None:
                told = "all models that may be open are at work for others; come back in 2 s"
                raise Problem(429, told, headers=_COME_BACK)
            taken.append(self._kept.pop(name))
        return taken

    def _start(self, opening: Opening) -> Kept:
        return Kept(
            opening.guard_id,
            self._spool,
            opening.model,
            opening.guard,
            read=[opening.folder],
            threads=self.settings.threads,
            patience=self._patience,
            task=self._task,
            paths=self._paths,
        )

    def _check_failed(self, opening: Opening) -> None:
        until, told = self._failed.get((opening.model_id, opening.guard_id), (0.0, ""))
        if until > time.monotonic():
            raise Problem(422, f"the model cannot be opened to screen: {told}")
        self._failed.pop((opening.model_id, opening.guard_id), None)
