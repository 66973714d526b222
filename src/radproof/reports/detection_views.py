# SPDX-License-Identifier: Apache-2.0
"""Detectors as shaded grids and curves: attacks by budgets, harmless changes by detectors, flagged share by budget."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from radproof.assess.detected import Detection, DetectionRow
from radproof.core.records import Estimate
from radproof.reports.charts import (
    BOTTOM,
    LEFT,
    MOST,
    RIGHT,
    TOP,
    Chart,
    Scale,
    Series,
    linear,
    marks,
    percent_ticks,
    polyline,
    tidy,
)
from radproof.reports.detection import doubted, named, unseen, what, where, worst
from radproof.reports.figures import budget_labels
from radproof.reports.reading import Budget, Reading
from radproof.reports.tables import Box, Row, Table
from radproof.reports.words import NOTHING, Shown, sentence, show

SHADES = 5
Line = list[tuple[float, Estimate]]


@dataclass(frozen=True)
class Spot:
    """One box of a grid."""

    shown: Shown
    shade: int  # 0 to SHADES: the fuller the colour, the worse
    span: int = 1  # columns
    small: str = ""


@dataclass(frozen=True)
class Grid:
    """A table of shaded boxes; a box is None where it was not measured."""

    caption: str
    corner: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Box, tuple[Spot | None, ...]], ...]
    marks: tuple[int, ...] = ()

    @property
    def table(self) -> Table:
        """The same without shades; a box over several columns stands in the first."""
        rows: list[Row] = []
        for head, spots in self.rows:
            boxes: list[Box] = []
            for spot in spots:
                shown = Box((spot.shown,), small=spot.small) if spot else Box(text=NOTHING)
                boxes += [shown, *[Box()] * ((spot.span if spot else 1) - 1)]
            text = ", ".join(part for part in (head.text, head.small) if part)
            rows.append(Row(Box(text=text), tuple(boxes)))
        return Table(self.caption, (self.corner, *self.heads), tuple(rows))


def detection_grids(reading: Reading) -> list[Grid]:
    """For each detector attacks against budgets, the share flagged; the best detector first. Without refused ones."""
    best = reading.best_detection()
    found = [one for one in reading.result.detection if one.rows and one.threshold is not None]
    found.sort(key=lambda one: best is None or one.detector != best[0].detector)
    return [_grid(reading, one) for one in found]


def side_grids(reading: Reading) -> list[Grid]:
    """Detectors by budgets: the share flagged on the attack that each sees worst, and what passes when it is known."""
    found = [one for one in reading.result.detection if one.rows and one.threshold is not None]
    ladder = _ladder(found)
    flagged = [(one, [_hardest(reading, one, rung) for rung in ladder]) for one in found]
    passed = [(one, [_passing(reading, one, rung) for rung in ladder]) for one in found]
    heads = tuple(rung.label for rung in ladder)
    grids = (
        ("Flagged, each on the attack that it flags least often", flagged, _flagged),
        ("Fooled and unseen, knowing the detector", passed, _passed),
    )
    return [
        Grid(caption, "budget →", heads, tuple(_side(reading, one, rows, spot) for one, rows in lines))
        for caption, lines, spot in grids
        if any(any(rows) for _, rows in lines)
    ]


def benign_grid(reading: Reading) -> Grid | None:
    """Clean images, unchanged and after harmless changes: what the model makes of them and who flags them."""
    found = [one for one in reading.result.detection if one.benign and one.threshold is not None]
    if not found:
        return None
    rows = {row.change: row for one in found for row in one.benign}
    clean = reading.clean()
    right = Spot(show(clean.scores.accuracy), 0) if clean else None
    unchanged = tuple(_alarm(one, one.achieved_rate) for one in found)
    told = [(Box(text="unchanged"), (right, *unchanged))]
    for change, row in rows.items():
        own = [next((r.flagged for r in one.benign if r.change == change), None) for one in found]
        alarms = tuple(_alarm(one, flagged) for one, flagged in zip(found, own, strict=True))
        told.append((Box(text=row.title), (Spot(show(row.accuracy), 0), *alarms)))
    heads = ("model right", *(one.detector for one in found))
    return Grid("False alarms after harmless changes", "flagged by →", heads, tuple(told))


def detection_charts(reading: Reading) -> list[Chart]:
    """Two panels: flagged share by budget on the worst attack, and what passes when the attacker knows the detector."""
    found = [one for one in reading.result.detection if one.threshold is not None]
    ladder = _ladder(found)
    if len(ladder) < 2:
        return []
    flagged: dict[str, Line] = {
        one.detector: [(row.eps, row.detected) for rung in ladder if (row := _hardest(reading, one, rung))]
        for one in found
    }
    passed: dict[str, Line] = {
        one.detector: [(row.eps, row.undetected_success) for rung in ladder if (row := _passing(reading, one, rung))]
        for one in found
    }
    kept = _told_apart(reading, flagged)
    promised = {one.promised_rate for one in found}
    few = f" ({len(kept)} of {len(flagged)} detectors)" if len(kept) < len(flagged) else ""
    panels = (
        (f"Flagged, on the attack each sees worst{few}", "flagged of those that fooled the model", flagged, promised),
        (f"Fooled and unseen, knowing the detector{few}", "fooled the model and not flagged", passed, set[float]()),
    )
    return [
        _panel(title, label, {name: lines[name] for name in kept if lines.get(name)}, ladder, guides)
        for title, label, lines, guides in panels
        if any(lines.get(name) for name in kept)
    ]


def _grid(reading: Reading, found: Detection) -> Grid:
    budgets = {row.eps: where(row) for row in found.rows if row.kind != "smallest"}
    order = sorted(budgets)
    cells = {(row.kind, row.attack, row.positives, row.eps): row for row in found.rows if row.kind != "smallest"}
    rows = [
        (what(first), tuple(_flagged(cells.get((*_kind(first), eps))) for eps in order))
        for first in {_kind(row): row for row in cells.values()}.values()
    ]
    for row in found.rows:
        spot = _flagged(row) if row.kind == "smallest" else None
        if spot:
            rows.append((what(row), (replace(spot, span=max(1, len(order))),)))
    heads = tuple(budgets[eps] for eps in order) or (where(found.rows[0]),)
    caption = f"{found.detector}, at {100 * found.promised_rate:g} % of false alarms promised"
    return Grid(caption, "budget →", heads, tuple(rows), reading.marks(*named(found.detector)))


def _kind(row: DetectionRow) -> tuple[str, str, str]:
    return row.kind, row.attack, row.positives


def _flagged(row: DetectionRow | None) -> Spot | None:
    if row is None:
        return None
    missed = 0.0 if row.detected.value is None else 1 - row.detected.value
    return Spot(show(row.detected), round(SHADES * missed))


def _alarm(found: Detection, flagged: Estimate | None) -> Spot | None:
    if flagged is None:
        return None
    above = max(0.0, (flagged.value or 0.0) - found.promised_rate)
    return Spot(show(flagged), min(SHADES, round(2 * SHADES * above)))


def _passed(row: DetectionRow | None) -> Spot | None:
    return None if row is None else Spot(show(row.undetected_success), round(SHADES * unseen(row)))


def _side(
    reading: Reading,
    found: Detection,
    rows: Sequence[DetectionRow | None],
    spot: Callable[[DetectionRow | None], Spot | None],
) -> tuple[Box, tuple[Spot | None, ...]]:
    made = [(row, spot(row)) for row in rows]
    head = Box(text=found.detector, small=doubted(reading, found), marks=reading.marks(*named(found.detector)))
    return head, tuple(replace(one, small=row.attack) if row and one else None for row, one in made)


def _ladder(found: Sequence[Detection]) -> list[Budget]:
    rungs = {row.eps: Budget(row.eps, row.budget) for one in found for row in one.rows if row.eps > 0}
    return [rungs[eps] for eps in sorted(rungs)]


def _hardest(reading: Reading, found: Detection, rung: Budget) -> DetectionRow | None:
    apart = {cell.attack for cell in reading.others}
    rows = [row for row in found.rows if row.kind == "attack" and row.eps == rung.eps and row.attack not in apart]
    told = [row for row in rows if row.detected.value is not None]
    return min(told, key=lambda row: row.detected.value or 0.0, default=None)


def _passing(reading: Reading, found: Detection, rung: Budget) -> DetectionRow | None:
    return worst(reading, [row for row in found.rows if row.eps == rung.eps], "aware")


def _told_apart(reading: Reading, lines: dict[str, Line]) -> list[str]:
    """As many as lines can be told apart: those that let least of what does not know them pass."""
    by_name = {one.detector: one for one in reading.result.detection}

    def passed(name: str) -> float:
        row = reading.unseen(by_name[name], "attack")  # not every one was attacked by someone who knows it
        return 2.0 if row is None else unseen(row)

    kept = sorted(lines, key=passed)[:MOST]
    return [name for name in lines if name in kept]


def _panel(title: str, label: str, lines: dict[str, Line], ladder: Sequence[Budget], promised: set[float]) -> Chart:
    x = linear(math.log2(ladder[0].eps), math.log2(ladder[-1].eps), LEFT + 18, RIGHT - 18)
    y = linear(0, 1, BOTTOM, TOP)
    unit, labels = budget_labels(ladder)
    series = tuple(_series(name, tone, len(lines), line, x, y) for tone, (name, line) in enumerate(lines.items()))
    last = "; ".join(f"{name} {sentence(line[-1][1])}" for name, line in lines.items())
    first = "; ".join(f"{name} {sentence(line[0][1])}" for name, line in lines.items())
    alt = f"{title}: {label}, against budget. At the smallest budget: {first}. At the largest: {last}."
    ticks = tuple((tidy(x(math.log2(rung.eps))), text) for rung, text in zip(ladder, labels, strict=True))
    guides = tuple(f"M{LEFT} {tidy(y(rate)):g}H{RIGHT}" for rate in sorted(promised))
    unit = f"{unit}; dashed line: false alarms promised" if guides else unit
    return Chart(title, alt, unit, label, ticks, percent_ticks(y), series, guides)


def _series(name: str, tone: int, lines: int, line: Line, x: Scale, y: Scale) -> Series:
    dodge = 4 * (tone - (lines - 1) / 2)  # intervals beside, not over one another
    points = marks([(math.log2(eps), estimate) for eps, estimate in line], lambda at: x(at) + dodge, y)
    return Series(name, tone, polyline([(mark.x, mark.y) for mark in points]), points)
