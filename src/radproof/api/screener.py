# SPDX-License-Identifier: Apache-2.0
"""Models that are kept open to screen, each in a guarded process of its own."""

from radproof.store.settings import Settings


class Screeners:
    """At most so many at a time; the one that rested longest is closed first."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def close(self) -> None:
        """End their processes."""
