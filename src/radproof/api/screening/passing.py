# SPDX-License-Identifier: Apache-2.0
"""An image that only passes through: it is in no project, under no quota, and gone after its answer."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from radproof.api.service import Service
from radproof.store.incoming import Incoming, Staged
from radproof.store.settings import MEGABYTE


class Passing(Incoming):
    """A file that need not outlive the server: nothing waits for the disk."""

    def finish(self, suffix: str = "") -> Staged:
        """All of it is there."""
        self._file.close()
        return Staged(self._path, self._sum.hexdigest(), self.size, suffix)


@dataclass(frozen=True)
class PassingPlace:
    """The place of an image to screen."""

    service: Service

    @property
    def most(self) -> int:
        """Bytes of an image."""
        return self.service.settings.image_megabytes * MEGABYTE

    def home(self, fields: Mapping[str, str]) -> str:
        """No project: nothing of the image is kept in one."""
        return ""

    @contextmanager
    def incoming(self, home: str, most: int) -> Generator[Incoming]:
        """Where the image comes in; gone with the request."""
        one = Passing(self.service.screeners.inbox(), most=most, room=most, used=0, arrived=lambda size: 0)
        try:
            yield one
        finally:
            one.discard()
