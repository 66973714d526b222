# SPDX-License-Identifier: Apache-2.0
"""The tables that everyone reads: attacks against the bare model, defences in their columns, and the summary."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from radproof.assess.result import Cell, Column, serious
from radproof.reports.reading import BARE, ENSEMBLE, WORST, Budget, Reading, about, still_right
from radproof.reports.words import NOT_ESTABLISHED, NOTHING, Shown, joined, origin, show

T = TypeVar("T")

GOALS = {
    "misclassify": "any wrong answer",
    "missed-finding": "disease read as Normal",
    "false-alarm": "Normal read as disease",
}
COLUMNS: tuple[tuple[Column, str], ...] = (
    ("oblivious", "Oblivious"),
    ("transfer", "Transfer"),
    ("adaptive", "Adaptive"),
)
OWN_LIMITS = "own limits"  # instead of a budget, where a threat has none
HEADLINE = "Headline: worst per image"


@dataclass(frozen=True)
class Box:
    """One box of a table: estimates, or words."""

    shown: tuple[Shown, ...] = ()
    text: str = ""
    small: str = ""
    marks: tuple[int, ...] = ()  # doubts that concern it


@dataclass(frozen=True)
class Row:
    """A row with its own heading."""

    head: Box
    boxes: tuple[Box, ...]
    tone: str = ""  # "headline" for the row that counts, "group" for the first of a group


@dataclass(frozen=True)
class Table:
    """A table as the template draws it."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""
    marks: tuple[int, ...] = ()  # doubts that concern all of it

    @property
    def footnotes(self) -> tuple[int, ...]:
        """Doubts that concern anything in it."""
        boxes = [box for row in self.rows for box in (row.head, *row.boxes)]
        return tuple(sorted({*self.marks, *(mark for box in boxes for mark in box.marks)}))


def attack_tables(reading: Reading) -> list[Table]:
    """For each goal: attacks against budgets on the bare model, images still right and success."""
    return [_attack_table(reading, goal, first=goal == reading.goal) for goal in reading.goals]


def defense_tables(reading: Reading) -> list[Table]:
    """For each goal: defences at each budget, column by column, the worst per image last."""
    goals = reading.goals if reading.defenses else ()
    return [_defense_table(reading, goal, first=goal == reading.goal) for goal in goals]


def spread(items: Sequence[T], most: int) -> list[Sequence[T]]:
    """Parts of at most `most` items and as equal as can be: columns that fit beside one another."""
    if not items:
        return []
    size = math.ceil(len(items) / math.ceil(len(items) / most))
    return [items[start : start + size] for start in range(0, len(items), size)]


def goal_words(goal: str) -> str:
    """What the attacker wanted, in words."""
    kind, _, which = goal.partition(":")
    if kind == "target":
        return f"the answer {which}"
    if kind == "flip":
        return f"the finding {which} turned over"
    return GOALS.get(kind, goal)


def _attack_table(reading: Reading, goal: str, *, first: bool) -> Table:
    rungs = reading.budgets
    rows = [
        Row(
            _attack_head(reading, attack, made_on),
            tuple(_attacked(reading, attack, made_on, goal, rung) for rung in rungs),
        )
        for attack, made_on in reading.attacks
    ]
    worst = tuple(
        _right_box(cell, reading, small=joined(_lowest_of(cell), _unestablished(cell, reading)))
        for cell in (reading.headline(BARE, goal, rung.eps) for rung in reading.budgets)
    )
    rows.append(Row(Box(text=ENSEMBLE), worst, "headline"))
    marks = reading.marks(f"defense:{BARE}")
    return Table(
        f"The bare model under attack; goal: {goal_words(goal)}",
        ("Attack", *(rung.label for rung in reading.budgets)),
        tuple(Row(row.head, _without(marks, row.boxes), row.tone) for row in rows),
        "Large figure: images still right under attack (robust accuracy), over all images the goal concerns. "
        "Success: goal reached among images that were right before; as stored (after rounding to the file's grey "
        "levels), and in float where that differs. Ensemble: for each image the attack that did most harm; an image "
        "counts as still right only if every attack failed on it."
        if first
        else "",
        marks,
    )


def _attack_head(reading: Reading, attack: str, made_on: str) -> Box:
    threats = {cell.threat for cell in reading.result.cells if (cell.attack, cell.made_on) == (attack, made_on)}
    norm = "L2: the budget is a root mean square" if "l2" in threats else ""
    return Box(text=attack, small=joined(origin(made_on), norm))


def _attacked(reading: Reading, attack: str, made_on: str, goal: str, rung: Budget) -> Box:
    cell = reading.bare(attack, made_on, goal, rung.eps)
    box = _right_box(cell, reading)
    if cell is None or cell.success is None:
        return box
    more = [show(cell.success, label="success")]
    if cell.success_float is not None and cell.success_float.value != cell.success.value:
        more.append(show(cell.success_float, label="in float"))
    return Box((*box.shown, *more), marks=box.marks)


def _right_box(cell: Cell | None, reading: Reading, small: str = "", none: str = "not run") -> Box:
    if cell is None:
        return Box(text=NOTHING, small=none)
    return Box((show(still_right(cell), strip=True),), small=small, marks=reading.marks(*about(cell)))


def _lowest_of(cell: Cell | None) -> str:
    return "" if cell is None or cell.attack == WORST else f"lowest single attack: {cell.attack}"


def _defense_table(reading: Reading, goal: str, *, first: bool) -> Table:
    rows = [
        _defense_row(reading, defense, goal, rung, first=defense == BARE)
        for rung in reading.budgets
        for defense in (BARE, *reading.defenses)
    ]
    return Table(
        f"Defences, images still right under attack; goal: {goal_words(goal)}",
        ("Budget and defence", "Clean", *(title for _, title in COLUMNS), HEADLINE),
        tuple(rows),
        "Oblivious: the attacker does not know the defence. Transfer: the attack was made on another model. Adaptive: "
        "the attacker knows the defence and attacks through it. The headline takes for each image the worst of the "
        "three; only the headline says what a defence is worth."
        if first
        else "",
    )


def _defense_row(reading: Reading, defense: str, goal: str, rung: Budget, *, first: bool) -> Row:
    clean = reading.clean(defense)
    columns = [reading.column(defense, column, goal, rung.eps) for column, _ in COLUMNS]
    headline = reading.headline(defense, goal, rung.eps)
    named = f"defense:{defense}", defense
    head = Box(
        text=f"{rung.label} · {'no defence' if defense == BARE else defense}",
        marks=reading.marks(named[0]) if defense == BARE else reading.marks(*named),
    )
    boxes = [
        _right_box(clean, reading),
        *(
            _right_box(cell, reading, small=_made_by(cell), none=_unmade(defense, column))
            for cell, (column, _) in zip(columns, COLUMNS, strict=True)
        ),
        _right_box(headline, reading, small=joined(_lowest_of(headline), _unestablished(headline, reading))),
    ]
    return Row(head, _without(head.marks, boxes), "group" if first else "")


def _without(marks: Sequence[int], boxes: Sequence[Box]) -> tuple[Box, ...]:
    """Boxes without the marks that stand beside all of them."""
    return tuple(Box(b.shown, b.text, b.small, tuple(m for m in b.marks if m not in marks)) for b in boxes)


def _unestablished(cell: Cell | None, reading: Reading) -> str:
    """What a serious doubt leaves of a figure."""
    return NOT_ESTABLISHED if cell is not None and serious(reading.result.doubts, cell) else ""


def _unmade(defense: str, column: Column) -> str:
    """Where there is no defence to know, knowing it changes nothing."""
    return "same as oblivious" if defense == BARE and column == "adaptive" else "not run"


def _made_by(cell: Cell | None) -> str:
    if cell is None or cell.attack == WORST:
        return ""
    return joined(cell.attack, origin(cell.made_on) if cell.column == "transfer" else "")
