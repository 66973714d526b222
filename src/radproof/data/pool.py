# SPDX-License-Identifier: Apache-2.0
"""Hashing and decoding wait for disks and run outside Python's lock: threads make both as fast as the machine."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import TypeVar

from radproof.core.progress import Progress

Item = TypeVar("Item")
Made = TypeVar("Made")
LARGE = 16_000_000  # pixels; a radiograph has fewer
_ONE_LARGE = Lock()


def room_for(pixels: int) -> AbstractContextManager[object]:
    """To be held while an image of so many pixels is decoded: a large one has the memory for itself."""
    return _ONE_LARGE if pixels > LARGE else nullcontext()


def each(work: Callable[[Item], Made], items: Sequence[Item], *, stage: str, progress: Progress) -> list[Made]:
    """`work` done on every item, results in the items' order; the first error ends it."""
    progress.start(stage, len(items))
    made: list[Made] = []
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for result in pool.map(work, items):
            made.append(result)
            progress.advance(stage)
    return made
