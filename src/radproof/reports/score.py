# SPDX-License-Identifier: Apache-2.0
"""The score: every figure of the vector first, the grade that they allow last."""

from collections.abc import Sequence

from radproof.assess.grades import BARS, Bar
from radproof.assess.result import Component, Score
from radproof.assess.score import concerning, findings_of
from radproof.reports.reading import BARE, Reading
from radproof.reports.tables import Box, Row, Table, spread
from radproof.reports.words import NOTHING, joined, show

ACROSS = 4  # contenders that fit beside one another
NOT_MEASURED = "not measured: "


def score_tables(reading: Reading) -> list[Table]:
    """Components by contenders."""
    parts = spread(reading.result.score, ACROSS)
    return [_table(reading, part, last=part is parts[-1]) for part in parts]


def score_words(reading: Reading) -> str:
    """The grade of each contender, or that it has none; the reasons stand in the table."""
    return "; ".join(f"{_named(one)}: {_said(one)}" for one in reading.result.score) + "."


def _said(one: Score) -> str:
    return "no grade" if one.grade is None else f"grade {one.grade}"


def _named(one: Score) -> str:
    return "The bare model" if one.contender == BARE else one.contender


def _table(reading: Reading, found: Sequence[Score], *, last: bool) -> Table:
    rows = [
        Row(Box(text=bar.title, small=bar.what), tuple(_box(reading, bar, _component(one, bar)) for one in found))
        for bar in BARS
    ]
    rows.append(Row(Box(text="Grade"), tuple(_grade(reading, one) for one in found), "headline"))
    note = (
        "Grades run from A to E and judge the pessimistic end of each interval; the last row is the worst of them, "
        "capped by failed checks. Nothing is averaged: a strength makes up for no weakness. A grade says what this "
        "test showed; it supports evidence for a risk file and is no certificate."
    )
    heads = ("Component", *(_named(one) for one in found))
    return Table("The score, figure by figure", heads, tuple(rows), note if last else "")


def _component(score: Score, bar: Bar) -> Component | None:
    return next((one for one in score.components if one.name == bar.name), None)


def _box(reading: Reading, bar: Bar, one: Component | None) -> Box:
    if one is None or one.estimate is None or one.estimate.value is None:
        return Box(text=NOTHING, small=one.reason.removeprefix(NOT_MEASURED) if one else "")
    grade = f"Grade {one.grade}" if one.grade else ""
    if bar.name == "validity":
        return Box(text=one.at, small=grade)
    least = reading.result.smallest
    most = least.most if least and bar.unit == "budget" else None
    shown = show(one.estimate, bar.unit, strip=bar.unit != "budget", most=most)
    return Box((shown,), text=grade, small=joined(one.at, one.reason))


def _grade(reading: Reading, score: Score) -> Box:
    serious = concerning(findings_of(reading.result), score.contender)
    marks = tuple(one.number for one in reading.doubts if one.doubt in serious)
    return Box(text=score.grade or NOTHING, small=score.reason, marks=marks)
