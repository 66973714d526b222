# SPDX-License-Identifier: Apache-2.0
"""An image that only passes through: it is in no project, under no quota, and gone after its answer."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from radproof.api.http.multipart import Taker
from radproof.store.incoming import Incoming, Staged
from radproof.store.settings import MEGABYTE


class Passing(Incoming):
    """A file that need not outlive the server: nothing waits for the disk."""

    def finish(self, suffix: str = "") -> Staged:
        """All of it is there."""
        self._file.close()
        return Staged(self._path, self._sum.hexdigest(), self.size, suffix)


class PassingTaker(Taker):
    """Takes a form apart whose file is an image to screen."""

    def _incoming(self, most: int | None) -> Incoming:
        settings = self._service.settings
        limit = settings.image_megabytes * MEGABYTE if most is None else most
        return self._stack.enter_context(_passing(self._service.screeners.inbox(), limit))

    def _home(self) -> str:
        """Of the model's project; nothing of the image is kept there."""
        return ""


@contextmanager
def _passing(folder: Path, most: int) -> Generator[Incoming]:
    one = Passing(folder, most=most, room=most, used=0, arrived=lambda size: 0)
    try:
        yield one
    finally:
        one.discard()
