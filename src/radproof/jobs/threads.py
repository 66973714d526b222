# SPDX-License-Identifier: Apache-2.0
"""How many threads a job's arithmetic uses: the same after every restart, on whatever machine, so that bytes agree."""

import os
from contextlib import suppress
from pathlib import Path

from radproof.core.files import write_text
from radproof.store.settings import Settings


def path_of(settings: Settings, job: str) -> Path:
    """Where it is kept."""
    return settings.folder("plans") / f"{job}.threads"


def threads_of(settings: Settings, job: str) -> int:
    """Decided when the job is first begun, and kept beside the plans; OMP_NUM_THREADS, or one per processor."""
    path = path_of(settings, job)
    with suppress(OSError, ValueError):
        return max(1, int(path.read_text(encoding="ascii")))
    told = os.environ.get("OMP_NUM_THREADS", "")
    ours = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = int(told) if told.isdigit() and int(told) else ours
    write_text(path, str(count))
    return count
