# SPDX-License-Identifier: Apache-2.0
"""What was read or drawn lately, within a number of things and a number of bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")
MEBIBYTE = 2**20


@dataclass
class _Entry(Generic[T]):
    """One thing, or the place where it is being made."""

    lock: Lock = field(default_factory=Lock)
    made: list[T] = field(default_factory=list[T])  # one, once it is there
    size: int = 0  # bytes
    failed: Exception | None = None  # why it was not made, for those who waited meanwhile


class BoundedCache(Generic[T]):
    """The one that rested longest goes first. Things of different keys are made side by side, those of one key once."""

    def __init__(self, most: int, most_bytes: int, size: Callable[[T], int]) -> None:
        self._most, self._most_bytes, self._size = most, most_bytes, size
        self._found: OrderedDict[Hashable, _Entry[T]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The thing of this key, made where there is none; what `make` raises is raised, and nothing is kept.

        Those who waited for it meanwhile get the same error: they do not try again one after the other.
        """
        with self._lock:
            entry = self._found.setdefault(key, _Entry())
            self._found.move_to_end(key)
        with entry.lock:
            if entry.failed is not None:
                raise entry.failed
            if not entry.made:
                try:
                    made = make()
                except BaseException as error:
                    entry.failed = error if isinstance(error, Exception) else None
                    with self._lock:
                        if self._found.get(key) is entry:
                            del self._found[key]
                    raise
                entry.size = self._size(made)
                entry.made.append(made)
        with self._lock:
            if entry.size > self._most_bytes and self._found.get(key) is entry:
                del self._found[key]  # nothing else has to go for what cannot be kept
            self._make_room()
        return entry.made[0]

    def known(self, key: Hashable) -> T | None:
        """The thing of this key, if it is there already."""
        with self._lock:
            entry = self._found.get(key)
            if entry is None or not entry.made:
                return None
            self._found.move_to_end(key)
            return entry.made[0]

    @property
    def most_bytes(self) -> int:
        """That may be kept."""
        return self._most_bytes

    @property
    def held(self) -> int:
        """Bytes that are kept now."""
        with self._lock:
            return sum(entry.size for entry in self._found.values())

    def _make_room(self) -> None:
        held = sum(entry.size for entry in self._found.values())
        while self._found and (len(self._found) > self._most or held > self._most_bytes):
            held -= self._found.popitem(last=False)[1].size
