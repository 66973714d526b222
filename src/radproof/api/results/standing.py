# SPDX-License-Identifier: Apache-2.0
"""Where a model stands: its finished runs' summaries as figures, a score vector, and a line through time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from radproof.assess.grades import BARS
from radproof.reports.tables import goal_words
from radproof.store.tables import Run

BARE = "none"
WIDTH, HEIGHT, EDGE = 120, 36, 4
MOST = 12  # runs that a line goes through


@dataclass(frozen=True)
class Line:
    """One component of the score."""

    name: str
    title: str
    unit: str
    better: str  # "higher" or "lower"
    grade: str  # "" where it has none
    bound: float | None  # the pessimistic end of the interval
    estimate: Mapping[str, Any] | None
    at: str


@dataclass(frozen=True)
class Dot:
    """One run's figure in a drawing."""

    x: float
    y: float
    top: float  # of the interval
    bottom: float
    established: bool  # no serious doubt stands about it


@dataclass(frozen=True)
class Trend:
    """A figure through runs that can be compared, oldest first: drawn, and in words."""

    at: str  # what the figure is: "4/255, any wrong answer"
    points: tuple[Dot, ...]
    path: str
    words: str


@dataclass(frozen=True)
class Standing:
    """What a finished run says of its model."""

    run: Run
    phantom: bool
    accuracy: Mapping[str, Any] | None
    worst: Mapping[str, Any] | None  # the lowest robust accuracy of the bare model
    worst_at: str  # "4/255, any wrong answer"
    grade: str
    reason: str
    lines: tuple[Line, ...]
    serious: int
    notes: int


def standing(run: Run) -> Standing:
    """Of one finished run; what an older summary does not hold is left out."""
    told = run.summary
    worst = _worst(told)
    score: dict[str, Any] = next((s for s in _list(told, "score") if s.get("contender") == BARE), {})
    doubts: dict[str, Any] = told.get("doubts") or {}
    return Standing(
        run=run,
        phantom=bool(told.get("phantom", run.data_id is None)),
        accuracy=told.get("accuracy"),
        worst=worst.get("accuracy"),
        worst_at=f"{worst['budget']}, {goal_words(worst['goal'])}" if worst else "",
        grade=str(score.get("grade") or ""),
        reason=str(score.get("reason") or ""),
        lines=tuple(_lines(score)),
        serious=int(doubts.get("serious", 0)),
        notes=int(doubts.get("note", 0)),
    )


def trend(found: Sequence[Standing]) -> Trend | None:
    """The last run's lowest robust accuracy through runs, given newest first; None for fewer than two.

    Only runs on the same images by the same preset, each with its figure at the last one's goal and budget:
    another run's own lowest may be of another attack.
    """
    last = found[0].run.summary if found else {}
    worst = _worst(last)
    same = [one for one in found[:MOST] if worst and _images(one) == _images(found[0])]
    told = [(one, _cell(one.run.summary, worst)) for one in reversed(same)]
    known = [(one, accuracy) for one, accuracy in told if accuracy is not None]
    if len(known) < 2:
        return None
    wide, high = (WIDTH - 2 * EDGE) / (len(known) - 1), HEIGHT - 2 * EDGE

    def y(share: float) -> float:
        return round(EDGE + high * (1 - min(max(share, 0.0), 1.0)), 1)

    points = tuple(
        Dot(round(EDGE + at * wide, 1), y(one["value"]), y(_end(one, "high")), y(_end(one, "low")), not of.serious)
        for at, (of, one) in enumerate(known)
    )
    path = "M" + "L".join(f"{point.x} {point.y}" for point in points)
    said = [
        f"{one['value']:.2f} ({_end(one, 'low'):.2f} to {_end(one, 'high'):.2f})"
        f"{', not established' if of.serious else ''}"
        for of, one in known
    ]
    return Trend(found[0].worst_at, points, path, "; ".join(said))


def _images(one: Standing) -> tuple[Any, ...]:
    """What runs have to share: the data set, and of drawn images their number and classes; and the preset."""
    told = one.run.summary
    return one.run.data_id, one.phantom, told.get("images"), str(told.get("labels")), told.get("preset")


def _cell(told: Mapping[str, Any], like: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The bare model's figure at another's goal and budget."""
    wanted = (BARE, like["goal"], like["eps"])
    for one in _list(told, "robust"):
        if (one.get("defense"), one.get("goal"), one.get("eps")) == wanted:
            accuracy = one.get("accuracy") or {}
            return accuracy if accuracy.get("value") is not None else None
    return None


def _lines(score: Mapping[str, Any]) -> list[Line]:
    told = {str(one.get("name")): one for one in _list(score, "components")}
    return [
        Line(
            bar.name,
            bar.title,
            bar.unit,
            bar.better,
            str(one.get("grade") or ""),
            one.get("bound"),
            one.get("estimate"),
            str(one.get("at") or ""),
        )
        for bar in BARS
        if (one := told.get(bar.name)) is not None
    ]


def _worst(told: Mapping[str, Any]) -> dict[str, Any]:
    bare = [one for one in _list(told, "robust") if one.get("defense") == BARE]
    bare = [one for one in bare if (one.get("accuracy") or {}).get("value") is not None]
    return min(bare, key=lambda one: (one["accuracy"]["value"], one["eps"]), default={})


def _end(one: Mapping[str, Any], name: str) -> float:
    found = one.get(name)
    return float(found if found is not None else one["value"])


def _list(told: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = told.get(name)
    return cast("list[dict[str, Any]]", found) if isinstance(found, list) else []
