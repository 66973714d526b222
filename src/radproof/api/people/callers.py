# SPDX-License-Identifier: Apache-2.0
"""Who asked in the last seconds, so that not every request asks the database; forgotten at once on any change.

Another process may know a caller for `SECONDS` longer than this one.
"""

import time
from collections import OrderedDict
from threading import Lock

from radproof.api.people.access import Caller

SECONDS = 3.0
MOST = 4096  # callers that are kept in mind


class Callers:
    """Callers by the hash of what they showed."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[Caller, float]] = OrderedDict()
        self._lock = Lock()
        self.changes = 0  # how often everything was forgotten

    def get(self, shown: str) -> Caller | None:
        """The caller, if they were here a moment ago."""
        with self._lock:
            found = self._known.get(shown)
            return found[0] if found and found[1] > time.monotonic() else None

    def keep(self, shown: str, who: Caller, changes: int, seconds: float = SECONDS) -> None:
        """For a few seconds, unless something changed since `changes` was read, which was before the look-up."""
        with self._lock:
            if changes != self.changes:
                return
            self._known[shown] = (who, time.monotonic() + min(seconds, SECONDS))
            self._known.move_to_end(shown)
            while len(self._known) > MOST:
                self._known.popitem(last=False)

    def forget(self) -> None:
        """After whatever changes what somebody may do, once it is committed."""
        with self._lock:
            self.changes += 1
            self._known.clear()
