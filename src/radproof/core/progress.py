# SPDX-License-Identifier: Apache-2.0
"""How long work tells its caller where it is; the library itself prints nothing."""

from typing import Protocol


class Progress(Protocol):
    """Told of each stage's size and of every unit done; the command line draws a bar with an ETA from it."""

    def start(self, stage: str, total: float) -> None: ...
    def advance(self, stage: str, amount: float = 1.0) -> None: ...
    def note(self, message: str) -> None: ...


class Silent:
    """Tells nobody."""

    def start(self, stage: str, total: float) -> None:
        """Nothing to do."""

    def advance(self, stage: str, amount: float = 1.0) -> None:
        """Nothing to do."""

    def note(self, message: str) -> None:
        """Nothing to do."""


SILENT: Progress = Silent()
