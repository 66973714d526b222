# SPDX-License-Identifier: Apache-2.0
"""What a number cost in seconds: kept apart from results, as the one part that differs between equal runs."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stopwatch:
    """Wall-clock seconds per stage, added up over repeated visits."""

    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Time what happens inside, also when it fails."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
