# SPDX-License-Identifier: Apache-2.0
"""Files of an archive that cannot be read: left out up to a bound, told by their number and by why, never by name."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from radproof.assess.unnamed import Unnamed
from radproof.core.records import Record
from radproof.errors import BadData, BadImage

SHARE = 0.05  # of the files; one may always be left out
_KINDS = 20  # reasons that are told apart
_TOLD = 4  # of them in a sentence
_SHOWN = 200  # files that are listed
_LONG = 300  # characters of a reason
_OTHER = "other reasons"
_PART = re.compile(r"#(?:[a-z]+-)?\d+$")
_Count = Annotated[int, Field(ge=0, le=10**12)]
_Reason = Annotated[str, Field(max_length=_LONG)]
_FIGURES = re.compile(r"0x[0-9a-f]+|\d[\d.,]*\d|\d")


class Excluded(Record):
    """A file that is no usable image: by its number in the archive."""

    index: _Count  # 1 is the first entry; 0 where it is not known
    sha256: Annotated[str, Field(max_length=16)]  # its first digits; "" where it was not taken
    reason: _Reason


class UnreadableFacts(Record):
    """What was left out because it cannot be read."""

    files: _Count = 0
    of: _Count = 0  # files that hold images
    most: _Count = 0  # that may be left out
    reasons: dict[_Reason, _Count] = Field(default_factory=dict[str, int], max_length=_KINDS + 1)  # why -> files


@dataclass
class Unreadable:
    """Collects them while an archive is read; safe for threads.

    `numbers`: path in the archive -> number of its entry, `above` what stands there before the paths that are told.
    """

    numbers: Mapping[str, int]
    above: str
    words: Unnamed
    root: Path
    strict: bool = False
    _why: dict[str, str] = field(default_factory=dict[str, str])  # file -> the first reason
    _sums: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, path: str, error: BadImage, sha256: str = "") -> None:
        """One image, by its path within the archive's folder; images of one file count once."""
        file = self._file(path)
        self._why.setdefault(file, str(error))
        self._sums.setdefault(file, sha256[:16])

    def facts(self, read: int) -> UnreadableFacts:
        """`read`: files that could be read. Raises BadData where too many could not be."""
        of = read + len(self._why)
        most = 0 if self.strict else max(1, int(SHARE * of))
        if len(self._why) > most:
            allowed = "none may be left out" if self.strict else f"{most} may be left out"
            raise BadData(f"{len(self._why)} of {of} files cannot be read, and {allowed}: {self.listed()}")
        return UnreadableFacts(files=len(self._why), of=of, most=most, reasons=self.reasons())

    def reasons(self) -> dict[str, int]:
        """Why, without figures and names -> files; the most frequent first."""
        plain = Unnamed()
        bare: Counter[str] = Counter()
        first: dict[str, str] = {}  # of each reason, as it came: without its figures a name would not be known again
        for why in self._why.values():
            bare[key := _FIGURES.sub("…", plain.without(why, self.root))] += 1
            first.setdefault(key, why)
        kinds: Counter[str] = Counter()
        for number, (key, count) in enumerate(bare.most_common()):
            kinds[self._nameless(first[key]) if number < _KINDS else _OTHER] += count
        return dict(kinds.most_common())

    def _nameless(self, why: str) -> str:
        return _FIGURES.sub("…", self.words.without(why, self.root))[:_LONG]

    def listed(self) -> str:
        """The most frequent ones in one sentence."""
        found = list(self.reasons().items())
        rest = sum(count for _, count in found[_TOLD:])
        told = [*found[:_TOLD], *([(_OTHER, rest)] if rest else [])]
        return "; ".join(f"{count} × {reason}" for reason, count in told)

    def excluded(self) -> tuple[Excluded, ...]:
        """The first of them, in the archive's order."""
        found = sorted((self.numbers.get(f"{self.above}{file}", 0), file) for file in self._why)[:_SHOWN]
        return tuple(
            Excluded(index=n, sha256=self._sums[file], reason=self.words.without(self._why[file], self.root)[:_LONG])
            for n, file in found
        )

    def __len__(self) -> int:
        return len(self._why)

    def _file(self, path: str) -> str:
        """Without the number of a frame or a slice."""
        return path if f"{self.above}{path}" in self.numbers else _PART.sub("", path)
