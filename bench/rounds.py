# SPDX-License-Identifier: Apache-2.0
"""Things that are to be compared, timed in turn."""

import time
from collections.abc import Callable, Mapping


def timed(work: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU-seconds of each, in turn; the first round is a rehearsal."""
    took: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds + 1):
        for name, run in work.items():
            began = time.process_time()
            run()
            took[name].append(time.process_time() - began)
    return {name: seconds[1:] for name, seconds in took.items()}
