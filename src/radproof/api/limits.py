# SPDX-License-Identifier: Apache-2.0
"""How often somebody may ask: token buckets in memory, one per caller and kind of request."""

import time
from threading import Lock

from radproof.api.problems import Problem
from radproof.store.settings import Settings


class Limits:
    """Buckets that fill evenly over a minute."""

    def __init__(self, settings: Settings) -> None:
        self._rates = {
            "read": settings.reads_per_minute,
            "write": settings.writes_per_minute,
            "screen": settings.screens_per_minute,
            "sign-in": settings.sign_ins_per_minute,
        }
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}
        self._lock = Lock()

    def take(self, kind: str, who: str) -> None:
        """One request. Raises Problem 429 with Retry-After where there were too many."""
        rate = self._rates[kind]
        with self._lock:
            moment = time.monotonic()
            left, last = self._buckets.get((kind, who), (float(rate), moment))
            left = min(float(rate), left + (moment - last) * rate / 60)
            if left < 1:
                wait = max(1, round((1 - left) * 60 / rate))
                raise Problem(429, f"too many requests; come back in {wait} s", headers={"Retry-After": str(wait)})
            self._buckets[(kind, who)] = (left - 1, moment)
