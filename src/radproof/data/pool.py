# SPDX-License-Identifier: Apache-2.0
"""Hashing and decoding wait for disks and run outside Python's lock: threads make both as fast as the machine."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from radproof.core.progress import Progress

Item = TypeVar("Item")
Made = TypeVar("Made")


def each(work: Callable[[Item], Made], items: Sequence[Item], *, stage: str, progress: Progress) -> list[Made]:
    """`work` done on every item, results in the items' order; the first error ends it."""
    progress.start(stage, len(items))
    made: list[Made] = []
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for result in pool.map(work, items):
            made.append(result)
            progress.advance(stage)
    return made
