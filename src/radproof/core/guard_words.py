# SPDX-License-Identifier: Apache-2.0
"""What a guarded process says, taken apart with distrust: lines of JSON become progress, a value or an error."""

import json
import math
import unicodedata
from typing import Any, NoReturn, cast

from radproof import errors
from radproof.core.progress import Progress, expect, heard
from radproof.errors import BadData, BadImage, BadInput, GateFailed, Interrupted, RadproofError

MOST = 16 << 20  # bytes in a line
_MESSAGE, _NAME, _NOTES, _STAGES, _AMOUNT = 2000, 200, 10_000, 1_000, 1e15
_HINTS = {
    "MemoryError": "it ran out of memory",
    "RecursionError": "it is nested too deeply",
    "ImportError": "a package that it needs is missing or cannot be loaded",
    "ModuleNotFoundError": "a package that it needs is missing",
}
_NUMBERS = {
    1: "it reached for something that the guard keeps from it",
    11: "it started more processes than the guard allows",
    13: "it reached for a file outside what it was given",
    24: "it opened more files than the guard allows",
    27: "it wrote a larger file than the guard allows",
    28: "the disk is full",
    30: "it wrote to a file outside what it was given",
}


class Words:
    """Collects lines of one child; the level counts once, before anything that a stranger could say."""

    def __init__(self, progress: Progress, blame: type[BadInput], what: str) -> None:
        self.level: tuple[str, ...] | None = None
        self.answered = self.interrupted = False  # interrupted: the child was told so from here
        self.value: Any = None
        self.error: RadproofError | None = None
        self._progress, self._blame, self._what = progress, blame, what
        self._buffer, self._searched, self._notes, self._foretold = bytearray(), 0, 0, 0
        self._stages: set[str] = set()

    def feed(self, piece: bytes) -> None:
        """Raises `blame` for anything that is not in order."""
        self._buffer += piece
        while (end := self._buffer.find(b"\n", self._searched)) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            if not (self.answered or self.error):
                self._line(line)
        self._searched = len(self._buffer)
        if len(self._buffer) > MOST:
            self._refuse(f"it answered with more than {MOST >> 20} MB")

    def _line(self, line: bytes) -> None:
        try:
            said: Any = json.loads(line, parse_constant=_no_constant, parse_float=_finite)
        except (ValueError, RecursionError, MemoryError):
            self._refuse("it answered with something that is no strict JSON")
        if not isinstance(said, dict) or len(cast(dict[str, Any], said)) != 1:
            self._refuse("it answered out of turn")
        ((kind, value),) = cast(dict[str, Any], said).items()
        match kind, value:
            case "level", list() if self.level is None:
                self.level = tuple(plain(str(word), _NAME) for word in cast(list[Any], value))
            case "start", [str() as stage, float() | int() as total] if _amount(total):
                self._start(plain(stage, _NAME), float(total))
            case "advance", [str() as stage, float() | int() as amount] if _amount(amount):
                if (name := plain(stage, _NAME)) in self._stages:
                    self._progress.advance(name, float(amount))
            case "expect", list():
                self._expect(cast(list[Any], value))
            case "note", str():
                self._notes += 1
                if self._notes <= _NOTES:
                    self._progress.note(plain(value, _MESSAGE))
            case "value", _:
                self.answered, self.value = True, value
            case "error", [str() as name, str() as message]:
                self.error = self._known(name, plain(message, _MESSAGE))
            case "broken", {"type": str() as name, "line": str() as words, "place": str() as place, "errno": number}:
                self.error = self._broken(plain(name, 80), plain(words, _NAME), plain(place, 80), number)
            case _:
                self._refuse("it answered out of turn")

    def _start(self, stage: str, total: float) -> None:
        self._stages.add(stage)
        if len(self._stages) > _STAGES:
            self._refuse(f"it told of more than {_STAGES} stages of work")
        self._progress.start(stage, total)

    def _expect(self, value: list[Any]) -> None:
        self._foretold += 1
        stages = heard(value)
        if stages is None or self._foretold > _STAGES:
            self._refuse("it told of work that is not in order")
        expect(self._progress, stages)

    def _known(self, name: str, message: str) -> RadproofError:
        """An interrupt counts where it came from here, and no file says that a gate has failed."""
        kind: Any = getattr(errors, name, None)
        forged = kind is GateFailed or (kind is Interrupted and not self.interrupted)
        if isinstance(kind, type) and issubclass(kind, RadproofError) and not forged:
            return kind(message)
        return self._blame(f"{self._what} cannot be used: {message}")

    def _broken(self, name: str, line: str, place: str, number: object) -> BadInput:
        """An error's own message may repeat what the file says, and files of images may name a patient."""
        told = _NUMBERS.get(number) if isinstance(number, int) else None
        hint = told or _HINTS.get(name)
        quiet = not line or issubclass(self._blame, (BadData, BadImage))
        words = name if quiet else f"{name}: {line}"
        where = f" ({place})" if place else ""
        return self._blame(
            f"{self._what} cannot be used{f': {hint}' if hint else ''}; it broke off with {words}{where}"
        )

    def _refuse(self, why: str) -> NoReturn:
        raise self._blame(f"{self._what} was stopped: {why}; use it only if you trust where it comes from") from None


def stopped() -> Interrupted:
    """For a run that was ended from the keyboard."""
    return Interrupted("stopped by the user")


def plain(text: str, most: int) -> str:
    """On one line, without control characters or half characters, cut."""
    kept = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text[: 2 * most])
    short = " ".join(kept.split())
    return short if len(short) <= most else short[: most - 1] + "…"


def _amount(value: float) -> bool:
    return not isinstance(value, bool) and 0 <= value <= _AMOUNT


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value
