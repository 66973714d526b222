# SPDX-License-Identifier: Apache-2.0
"""The figures that a reader chooses by budget, goal and defence: accuracy under the worst attack, class by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from radproof.assess.result import Cell, ClassScores, Column, Scores
from radproof.reports.evidence import Confusion
from radproof.reports.reading import BARE, WORST, Reading, about, still_right
from radproof.reports.tables import Box, Row, Table, goal_words
from radproof.reports.words import NOTHING, Kind, joined, show

CLEAN = "clean"
SHADES = 5
SCORES: tuple[tuple[str, str, Kind], ...] = (
    ("Precision", "precision", "share"),
    ("Recall", "recall", "share"),
    ("F1", "f1", "score"),
    ("AUROC", "auroc", "score"),
)
MEANS: tuple[tuple[str, str, Kind], ...] = (
    ("Accuracy", "accuracy", "share"),
    ("Balanced accuracy", "balanced_accuracy", "share"),
    ("Mean F1", "macro_f1", "score"),
    ("Mean AUROC", "macro_auroc", "score"),
    ("Missed findings: disease read as Normal", "missed_findings", "share"),
    ("False alarms: Normal read as disease", "false_alarms", "share"),
    ("Calibration error (ECE)", "ece", "score"),
)


@dataclass(frozen=True)
class Chosen:
    """What a reader chose; places in lists, so that nothing but what the run has can be chosen."""

    goal: str
    step: int  # 0: clean images, 1…: the budgets, smallest first
    defense: str  # the one that is looked at class by class; "none" where the run has none


@dataclass(frozen=True)
class Ladder:
    """Accuracy at every budget for one goal: a row for each defence, a box for each step."""

    goal: str
    title: str
    rows: tuple[tuple[str, tuple[Box, ...]], ...]  # defence


@dataclass(frozen=True)
class Moment:
    """One set of answers: clean, attacked, or attacked behind a defence."""

    title: str
    marks: tuple[int, ...]  # doubts that concern it
    classes: Table
    means: Table
    confusion: Confusion | None


def steps(reading: Reading) -> tuple[str, ...]:
    """The slider's stops in words."""
    return ("clean images", *(rung.label for rung in reading.budgets))


def choose(reading: Reading, told: Mapping[str, str]) -> Chosen:
    """From a query: `step` or `budget`, `goal`, `defence`; what the run does not have stays at its default."""
    words = steps(reading)
    at = words.index(reading.reference.label) if reading.reference else 0
    if told.get("budget") in (*words, CLEAN):
        at = 0 if told["budget"] == CLEAN else words.index(told["budget"])
    elif (step := told.get("step", "")).isascii() and step.isdecimal() and len(step) < 4:
        at = min(int(step), len(words) - 1)
    goal = told.get("goal", "")
    best = reading.best_defense() or next(iter(reading.defenses), BARE)
    defense = told.get("defence", "")
    return Chosen(
        goal if goal in reading.goals else reading.goal, at, defense if defense in (BARE, *reading.defenses) else best
    )


def ladders(reading: Reading) -> tuple[Ladder, ...]:
    """For every goal: how many images stay right at each budget, whatever attack is worst for each image."""
    return tuple(
        Ladder(
            goal,
            goal_words(goal),
            tuple((name, _stops(reading, goal, name)) for name in (BARE, *reading.defenses)),
        )
        for goal in reading.goals
    )


def moments(reading: Reading, chosen: Chosen) -> list[Moment]:
    """Clean, attacked and defended answers at the chosen budget, class by class."""
    found: list[tuple[str, Cell | None]] = [("Clean images", reading.clean())]
    if chosen.step and reading.budgets:
        rung = reading.budgets[chosen.step - 1]
        found.append((f"Attacked, {rung.label}", reading.headline(BARE, chosen.goal, rung.eps)))
        if chosen.defense != BARE:
            cell = reading.headline(chosen.defense, chosen.goal, rung.eps)
            found.append((f"Attacked, {rung.label}, behind {chosen.defense}", cell))
    elif chosen.defense != BARE:
        found.append((f"Clean images behind {chosen.defense}", reading.clean(chosen.defense)))
    return [_moment(reading, title, cell) for title, cell in found if cell is not None]


def _stops(reading: Reading, goal: str, defense: str) -> tuple[Box, ...]:
    column: Column = "headline"
    cells = [reading.clean(defense), *(reading.headline(defense, goal, rung.eps) for rung in reading.budgets)]
    return tuple(_stop(reading, cell, column) for cell in cells)


def _stop(reading: Reading, cell: Cell | None, column: Column) -> Box:
    if cell is None:
        return Box(text=NOTHING, small="not run")
    right = cell.scores.accuracy if cell.column == "clean" else still_right(cell)
    single = (
        "" if cell.attack in (WORST, BARE) or cell.column != "oblivious" else f"lowest single attack: {cell.attack}"
    )
    doubted = "not established" if reading.serious(*about(cell)) else ""
    return Box((show(right, strip=True),), small=joined(single, doubted), marks=reading.marks(*about(cell)))


def _moment(reading: Reading, title: str, cell: Cell) -> Moment:
    marks = reading.marks(*about(cell))
    return Moment(title, marks, _classes(cell.scores), _means(cell.scores), _confusion(reading, title, cell))


def _classes(scores: Scores) -> Table:
    rows = tuple(_class(one) for one in scores.per_class)
    return Table("Scores of each class", ("Class", *(name for name, _, _ in SCORES)), rows)


def _class(one: ClassScores) -> Row:
    head = Box(text=one.label, small=f"{one.images:,} images")
    return Row(head, tuple(Box((show(getattr(one, key), kind, strip=True),)) for _, key, kind in SCORES))


def _means(scores: Scores) -> Table:
    rows = [
        Row(Box(text=name), (Box((show(found, kind, strip=True),)),))
        for name, key, kind in MEANS
        if (found := getattr(scores, key)) is not None
    ]
    return Table("Over all classes", ("Figure", "Value"), tuple(rows))


def _confusion(reading: Reading, title: str, cell: Cell) -> Confusion | None:
    counts = cell.scores.confusion
    if counts is None:
        return None
    return Confusion(title, reading.result.labels, counts, tuple(_shades(row) for row in counts))


def _shades(row: Sequence[int]) -> tuple[int, ...]:
    return tuple(round(SHADES * count / max(sum(row), 1)) for count in row)
