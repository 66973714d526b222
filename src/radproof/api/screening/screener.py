# SPDX-License-Identifier: Apache-2.0
"""Models that are kept open to screen, each in a guarded process of its own; and those that draw, beside them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from radproof.api.screening.answers import Opened, Said
from radproof.api.screening.drawers import MOST_OPEN, Drawers
from radproof.api.screening.held import Patience, Task
from radproof.api.screening.kept import Kept
from radproof.api.screening.pool import Pool
from radproof.api.screening.spool import Spool
from radproof.store.settings import Settings

TASK = "radproof.assess.screen_server:serve"
_REFUSING = 4  # threads for those who find all places taken


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
        self._pool: Pool[Kept] = Pool(settings.screening_models, settings.screening_queue, "screen")
        self.drawers = Drawers(settings, self._spool)
        most = settings.screening_models * (settings.screening_queue + 1)  # that are judged or wait
        self.threads = ThreadPoolExecutor(most + _REFUSING, "screening")  # who waits here takes no thread from others

    def screen(self, opening: Opening, image: Path, view: str | None = None) -> tuple[Opened, Said]:
        """Judge one image; blocks until it is done.

        Raises Problem 422 for a model or guard that cannot be opened, 429 where too many wait, 503 for a process that
        took too long or ended: the next image starts it anew.
        """
        with self._pool.entered(opening.model_id, opening.guard_id, lambda: self._start(opening)) as kept:
            return kept.judge(image, view)

    def inbox(self) -> Path:
        """A private folder where images arrive; what a killed server left there, the next one removes."""
        return self._spool.inbox()

    def close_model(self, model_id: str) -> None:
        """End one model's processes, if there are any: it was removed or changed."""
        self._pool.end(model_id)
        self.drawers.end(model_id)

    def close(self) -> None:
        """End their processes; nobody is answered any more."""
        self._pool.close()
        self.drawers.close()
        self.threads.shutdown(wait=False, cancel_futures=True)
        self._spool.close()

    def _start(self, opening: Opening) -> Kept:
        told = {"model": str(opening.model), "guard": str(opening.guard), "threads": self.settings.threads}
        among = self.settings.screening_models + MOST_OPEN
        task = Task(self._task, told, [opening.guard, opening.folder], self._paths, among)
        return Kept(opening.guard_id, task, self._spool, self._patience)
