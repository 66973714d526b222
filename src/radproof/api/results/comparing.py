# SPDX-License-Identifier: Apache-2.0
"""Two finished runs compared on their common images, by the command in a process of its own: it imports much."""

import json
import os
import sys
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any

from radproof.api.http.problems import Problem
from radproof.api.results.children import Children
from radproof.api.results.finished import Stamp, finished, scrubbed
from radproof.core.records import Estimate
from radproof.jobs.process import environment
from radproof.reports.tables import goal_words
from radproof.reports.words import Shown, count, points, show
from radproof.store.settings import Settings
from radproof.store.tables import Run

LONGEST = 120  # seconds of one comparison
BAD_INPUT = 2  # the command's exit code
_RETRY = {"Retry-After": "5"}
MOST = 64  # comparisons that are kept
EACH, ALL = 2, 16  # that one user, and all together, may have unfinished


@dataclass(frozen=True)
class Line:
    """One figure of A and of B on the same images."""

    what: str
    budget: str
    defense: str  # "" for none
    a: Shown
    b: Shown
    difference: Shown  # A less B, in points
    only_a: int
    only_b: int
    p: str
    differs: bool


@dataclass(frozen=True)
class Compared:
    """What came out, or why nothing did."""

    lines: tuple[Line, ...] = ()
    on: str = ""  # "30 images of 30 patients"
    notes: tuple[str, ...] = ()  # what else is not the same
    conclusion: str = ""
    refused: str = ""  # why the runs cannot be compared image by image


class Comparisons:
    """One at a time, in the background; the last ones are kept."""

    def __init__(self) -> None:
        self._at_work: OrderedDict[tuple[Stamp, Stamp], tuple[str, Future[Compared]]] = OrderedDict()  # who first asked
        self._pool = ThreadPoolExecutor(1, "compare")
        self._children = Children()
        self._lock = Lock()

    def get(self, settings: Settings, a: Run, b: Run, user: str, patience: float) -> Compared | None:
        """A against B; None while it is not done within `patience` seconds.

        Raises Problem 404 without a result, 429 where this user, or all together, wait for too many others.
        """
        key = finished(settings, a), finished(settings, b)
        with self._lock:
            if key not in self._at_work:
                self._check_room(user)
                self._at_work[key] = user, self._pool.submit(compare, settings, a.id, b.id, self._children)
            _, future = self._at_work[key]
            self._at_work.move_to_end(key)
            done = [one for one, (_, work) in self._at_work.items() if work.done()]
            for old in done[: max(0, len(self._at_work) - MOST)]:
                del self._at_work[old]
        try:
            return future.result(patience)
        except (NotYet, CancelledError):  # later, or of the next server
            return None

    def close(self) -> None:
        """End the one at work, and begin no other one: who waits is told at once."""
        self._children.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _check_room(self, user: str) -> None:
        waiting = [who for who, work in self._at_work.values() if not work.done()]
        if waiting.count(user) >= EACH:
            raise Problem(429, f"{EACH} of your comparisons are not done yet; come back in 5 s", headers=_RETRY)
        if len(waiting) >= ALL:
            raise Problem(429, "too many comparisons wait; come back in 5 s", headers=_RETRY)


def compare(settings: Settings, a: str, b: str, children: Children | None = None) -> Compared:
    """Run `radproof compare A B --json` within the folder of runs, so that no message holds a path of the server."""
    command = [sys.executable, "-m", "radproof", "compare", a, b, "--json"]
    done = (children or Children()).run(command, settings.folder("runs"), _environment(), LONGEST)
    if done is None:
        return Compared(refused=f"the comparison took longer than {LONGEST} s, or the server was ended, and it with it")
    if done.code == 0:
        with suppress(ValueError, KeyError):
            return read(json.loads(done.out))
    if done.code != BAD_INPUT:
        return Compared(refused="the comparison failed; the runs' files may be damaged")
    return Compared(refused=_reason(scrubbed(done.err, settings.home.resolve())).replace(a, "A").replace(b, "B"))


def _environment() -> dict[str, str]:
    """Nothing of the server's settings; not that of a worker's child, which would end with its stdin."""
    told = environment({**os.environ, "OMP_NUM_THREADS": "1"}, 1)
    del told["RADPROOF_SUPERVISED"]
    return {**told, "COLUMNS": "1000"}


def read(told: Mapping[str, Any]) -> Compared:
    """The command's answer, an assess.compare.Comparison, in words."""
    lines = tuple(_line(row) for row in told["rows"])
    notes = [str(one) for one in told["differences"]]
    if told["left_out"]:
        notes.insert(0, f"{count(told['left_out'], 'image')} not in both runs, or not the same in both, left out")
    differing = sum(line.differs for line in lines)
    conclusion = (
        f"{differing} of {count(len(lines), 'figure')} differ by more than chance explains (exact McNemar test over "
        f"images, Holm's correction, at {1 - told['confidence']:.2g}, and 0 outside the interval; intervals: paired by "
        "image, drawn by patient)."
    )
    on = f"{count(told['images'], 'image')} of {count(told['patients'], 'patient')}"
    return Compared(lines, on, tuple(notes), conclusion)


def under(goal: str) -> str:
    """What a figure under attack is of."""
    return "under attack" if goal == "misclassify" else goal_words(goal)


def _line(row: Mapping[str, Any]) -> Line:
    a, b, difference = (Estimate.model_validate(row[key]) for key in ("a", "b", "difference"))
    return Line(
        what="clean images" if row["column"] == "clean" else under(row["goal"]),
        budget=row["budget"],
        defense="" if row["defense"] == "none" else row["defense"],
        a=show(a, strip=True),
        b=show(b, strip=True),
        difference=points(difference),
        only_a=row["only_a"],
        only_b=row["only_b"],
        p=f"{row['p_holm']:.2g}",
        differs=row["differs"],
    )


def _reason(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if line.startswith("radproof:")), "")
    return told.removeprefix("radproof:").strip() or "the runs cannot be compared"
