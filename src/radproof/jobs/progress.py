# SPDX-License-Identifier: Apache-2.0
"""From the lines that a command says to what a page shows: the stage, how far the whole is, and the seconds left."""

import json
import math
from collections import deque
from collections.abc import Sequence
from threading import Lock
from time import monotonic
from typing import Any, TypeGuard, cast

from radproof.core.progress import heard
from radproof.core.whole import Stage, Whole

WARM = 3.0  # seconds of a stage before anything is foretold
WINDOW = 60.0  # seconds that the rate is taken from
LINE = 32_768  # bytes of a line that are read
KINDS = 500  # of work that are told apart, in all lines of a command together
EXPECTED = 100  # times that a command says what is to come
_WORDS = 300  # characters


class Meter:
    """Progress of one command: of the whole where it says what is to come, as a run does, else of the stage.

    One thread may feed it while others look. The command may be a stranger's to lead: what it says is bounded, so that
    a look takes milliseconds.

    `share`: how far an earlier worker saw it; what is told never falls below.
    """

    def __init__(self, share: float = 0.0) -> None:
        self.error: str = ""
        self.code: int | None = None
        self.furthest = (0, 0.0)  # stage and share of it: grows while the command gets on
        self._note = ""
        self._stages: dict[str, int] = {}
        self._stage, self._done, self._total = "", 0.0, 0.0
        self._points: deque[tuple[float, float]] = deque()
        self._began = 0.0
        self._whole, self._share = Whole(), share
        self._kinds: set[str] = set()
        self._expected = 0
        self._lock = Lock()

    def feed(self, line: bytes, at: float | None = None) -> bool:
        """One line of stderr; whether it was one of ours. Anything else is left to the log."""
        if len(line) > LINE or not line.startswith(b"{"):
            return False
        try:
            told: Any = json.loads(line)
        except (ValueError, RecursionError):
            return False
        if not isinstance(told, dict):
            return False
        with self._lock:
            return self._take(cast("dict[str, Any]", told), monotonic() if at is None else at)

    def shown(self) -> dict[str, Any]:
        """Stage, number, done, total, share and left of the whole, the same of the stage, note.

        `left`: seconds or None, about `left_low` to `left_high`. Without a word of what is to come, `share` and `left`
        are those of the stage, and no range is told.
        """
        with self._lock:
            return self._shown()

    def _shown(self) -> dict[str, Any]:
        if not self._stage:
            return {"note": self._note} if self._note else {}
        return {
            "stage": self._stage,
            "number": self._stages[self._stage],
            "done": round(self._done, 2),
            "total": round(self._total, 2),
            **self._told(),
            "stage_share": round(self._done / self._total, 4),
            "stage_left": self._left(),
            "note": self._note,
        }

    def _told(self) -> dict[str, float | None]:
        if not self._whole.known:
            return {"share": round(self._done / self._total, 4), "left": self._left()}
        self._share, left = max(self._share, self._whole.share), self._whole.left
        if left is None:
            return {"share": round(self._share, 4), "left": None}
        return {
            "share": round(self._share, 4),
            "left": round(left.seconds, 1),
            "left_low": round(left.low, 1),
            "left_high": round(left.high, 1),
        }

    def again(self) -> None:
        """The command is started anew: it goes through its stages again."""
        with self._lock:
            self._stages.clear()
            self._points.clear()
            self._stage, self.error, self.code, self._expected = "", "", None, 0

    def _take(self, told: dict[str, Any], at: float) -> bool:
        if isinstance(told.get("note"), str):
            self._note = _words(told["note"])
            return True
        if isinstance(told.get("error"), str) and type(told.get("code")) is int:
            self.error, self.code = _words(told["error"], 2000), told["code"]
            return True
        if "expect" in told:
            stages = heard(told["expect"])
            return stages is not None and self._expect(stages)
        stage, done, total = told.get("stage"), told.get("done"), told.get("total")
        if not isinstance(stage, str) or not _number(done) or not _number(total) or total <= 0:
            return False
        self._step(_words(stage, 100), min(max(float(done), 0.0), float(total)), float(total), at)
        return True

    def _expect(self, stages: Sequence[Stage]) -> bool:
        """Whether it is still listened to."""
        kinds = self._kinds | {piece.kind for stage in stages for piece in stage.pieces}
        if len(kinds) > KINDS or self._expected >= EXPECTED:
            return False
        self._kinds, self._expected = kinds, self._expected + 1
        self._whole.expect(stages)
        return True

    def _step(self, stage: str, done: float, total: float, at: float) -> None:
        if stage != self._stage or done < self._done or total != self._total:
            if len(self._stages) < 1000:
                self._stages.setdefault(stage, len(self._stages) + 1)
            elif stage not in self._stages:
                return
            self._points.clear()
            self._began = at
            self._whole.start(stage, total, at)
        self._whole.advance(stage, done, at)
        self._stage, self._done, self._total = stage, done, total
        self._points.append((at, done))
        while (len(self._points) > 2 and at - self._points[0][0] > WINDOW) or len(self._points) > 1000:
            self._points.popleft()
        self.furthest = max(self.furthest, (self._stages[stage], done / total))

    def _left(self) -> float | None:
        if len(self._points) < 2 or self._points[-1][0] - self._began < WARM:
            return None
        (first, before), (last, now) = self._points[0], self._points[-1]
        if now <= before or last <= first:
            return None
        return round((self._total - now) * (last - first) / (now - before), 1)


def _number(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and math.isfinite(value)


def _words(text: str, most: int = _WORDS) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:most])
