# SPDX-License-Identifier: Apache-2.0
"""The structure of a data set walked in place, without recursion and without building anything (DICOM PS3.5, 7).

Depth, lengths and counts are checked here, so that the parser behind it is given a few known elements only.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from radproof.errors import BadImage

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
MAX_DEPTH = 32
MAX_ELEMENTS = 2_000_000
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # a 32-bit length after two reserved bytes
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())


@dataclass(frozen=True)
class Element:
    """Where one element lies: its header from `start`, its value from `value` to `end`."""

    tag: int
    vr: bytes  # b"" where the data set does not say
    length: int  # UNDEFINED where a delimiter ends it
    start: int
    value: int
    end: int


class Walker:
    """Reads the headers of elements from a stream of `size` bytes; raises BadImage for all that cannot be."""

    def __init__(self, stream: BinaryIO, size: int, *, implicit: bool, little: bool) -> None:
        self.stream, self.size, self.implicit, self.little = stream, size, implicit, little
        self._seen = 0

    def elements(self, start: int, *, until: frozenset[int] = frozenset()) -> Iterator[Element]:
        """The top-level elements from `start`; one whose tag is in `until` is the last and its value is not walked."""
        at = start
        while at < self.size:
            tag, vr, length, value = self._header(at, self.implicit)
            if tag in until:
                yield Element(tag, vr, length, at, value, value)
                return
            end = self._within(value, length) if length != UNDEFINED else self._past_items(value)
            yield Element(tag, vr, length, at, value, end)
            at = end

    def fragments(self, start: int) -> list[tuple[int, int]]:
        """Where the items of encapsulated pixel data lie, as (position, length), the offset table first."""
        found: list[tuple[int, int]] = []
        at = start
        while True:
            tag, length = self._item(at)
            if tag == SEQUENCE_END:
                return found
            if tag != ITEM or length == UNDEFINED:
                raise BadImage("the compressed pixel data are no list of fragments; copy or export the file again")
            at = self._within(at + 8, length)
            found.append((at - length, length))

    def _past_items(self, at: int) -> int:
        """Beyond the end of a list of items, whatever they hold."""
        open_: list[bool | None] = [None]  # None: a list of items; else a data set, and whether it is implicit
        while open_:
            if len(open_) > 2 * MAX_DEPTH:
                raise BadImage(f"sequences are nested more than {MAX_DEPTH} deep; no image is; the file is refused")
            layout = open_[-1]
            at = self._step_items(at, open_) if layout is None else self._step_elements(at, layout, open_)
        return at

    def _step_elements(self, at: int, implicit: bool, open_: list[bool | None]) -> int:
        if self._item(at)[0] == ITEM_END:
            open_.pop()
            return at + 8
        _, _, length, value = self._header(at, implicit)
        if length != UNDEFINED:
            return self._within(value, length)
        open_.append(None)
        return value

    def _step_items(self, at: int, open_: list[bool | None]) -> int:
        tag, length = self._item(at)
        if tag == SEQUENCE_END:
            open_.pop()
            return at + 8
        if tag != ITEM:
            raise BadImage("a sequence of undefined length has no end; the file is damaged, copy or export it again")
        if length != UNDEFINED:
            return self._within(at + 8, length)
        open_.append(self.implicit or not _letters(self._read(at + 12, 2)))
        return at + 8

    def _header(self, at: int, implicit: bool) -> tuple[int, bytes, int, int]:
        """Tag, VR, length and where the value begins."""
        self._count()
        head = self._read(at, 8)
        order = "<" if self.little else ">"
        group, number = struct.unpack_from(f"{order}HH", head)
        vr = head[4:6]
        if implicit or not _letters(vr):
            return group << 16 | number, b"", struct.unpack_from(f"{order}L", head, 4)[0], at + 8
        if vr in _LONG:
            (length,) = struct.unpack(f"{order}L", self._read(at + 8, 4))
            return group << 16 | number, vr, length, at + 12
        return group << 16 | number, vr, struct.unpack_from(f"{order}H", head, 6)[0], at + 8

    def _item(self, at: int) -> tuple[int, int]:
        self._count()
        group, number, length = struct.unpack("<HHL" if self.little else ">HHL", self._read(at, 8))
        return group << 16 | number, length

    def _count(self) -> None:
        self._seen += 1
        if self._seen > MAX_ELEMENTS:
            raise BadImage(f"the header holds more than {MAX_ELEMENTS:,} elements; no image needs so many")

    def _within(self, value: int, length: int) -> int:
        if value + length > self.size:
            raise BadImage(
                f"an element announces {length:,} bytes where {max(self.size - value, 0):,} are left; "
                "the file is truncated or damaged, copy or export it again"
            )
        return value + length

    def _read(self, at: int, count: int) -> bytes:
        self.stream.seek(at)
        data = self.stream.read(count)
        if len(data) < count:
            raise BadImage("the file ends in the middle of its header; it is truncated, copy or export it again")
        return data


def known_vr(vr: bytes) -> bool:
    """Whether these two bytes are a value representation of the standard."""
    return vr in _LONG or vr in _SHORT


def _letters(vr: bytes) -> bool:
    return len(vr) == 2 and all(65 <= byte <= 90 for byte in vr)
