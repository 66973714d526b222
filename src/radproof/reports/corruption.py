# SPDX-License-Identifier: Apache-2.0
"""What contenders make of the graded corruptions: corruptions by severities, and what they say."""

from dataclasses import dataclass

from radproof.assess.result import CorruptionRow, CorruptionSummary
from radproof.reports.reading import BARE, Reading
from radproof.reports.words import Shown, count, sentence, show

SHADES = 5


@dataclass(frozen=True)
class Graded:
    """One corruption at one severity."""

    shown: Shown
    shade: int  # 0 to SHADES, by what is lost of the clean accuracy


@dataclass(frozen=True)
class Grid:
    """One contender: rows are corruptions, columns severities; a box is None where it was not run."""

    caption: str
    severities: tuple[int, ...]
    rows: tuple[tuple[str, tuple[Graded | None, ...]], ...]


def corruption_grids(reading: Reading) -> list[Grid]:
    """One for each contender, the bare model first."""
    found = sorted(reading.result.corruptions, key=lambda one: one.defense != BARE)
    return [_grid(one) for one in found]


def corruption_words(reading: Reading) -> str:
    """How much of the clean accuracy is kept, what costs most, and whether contenders keep more."""
    found = {one.defense: one for one in reading.result.corruptions}
    bare = found.pop(BARE, None)
    said = [] if bare is None else [_bare(bare)]
    said += [_relative(one) for one in found.values() if one.relative_error is not None]
    return " ".join(said)


def named(row: CorruptionRow) -> str:
    """'window level' for window_level."""
    return row.corruption.replace("_", " ")


def _bare(one: CorruptionSummary) -> str:
    kinds = len({row.corruption for row in one.rows})
    text = (
        f"Over {count(kinds, 'corruption')}, each counted alike, {sentence(one.accuracy)} of the images are answered "
        f"rightly, which is {sentence(one.kept)} of the clean accuracy."
    )
    told = [row for row in one.rows if row.accuracy.value is not None]
    if not told:
        return text
    worst = min(told, key=lambda row: row.accuracy.value or 0.0)
    return f"{text} Most is lost to {named(worst)} at severity {worst.severity}: {sentence(worst.accuracy)} stay right."


def _relative(one: CorruptionSummary) -> str:
    relative = one.relative_error
    assert relative is not None
    if relative.low is None or relative.high is None:
        return f"{one.defense}: the bare model made no error to compare with."
    verdict = "fewer" if relative.high < 1 else "more" if relative.low > 1 else ""
    judged = f"it makes {verdict} errors than the bare model" if verdict else "no difference is established"
    return f"{one.defense} makes {sentence(relative)} of the bare model's errors (mean over corruptions): {judged}."


def _grid(one: CorruptionSummary) -> Grid:
    severities = tuple(sorted({row.severity for row in one.rows}))
    by_place = {(row.corruption, row.severity): row for row in one.rows}
    names = {row.corruption: named(row) for row in one.rows}
    rows = tuple(
        (title, tuple(_graded(by_place.get((name, severity)), one) for severity in severities))
        for name, title in names.items()
    )
    who = "the bare model" if one.defense == BARE else one.defense
    return Grid(f"{who}; on clean images {sentence(one.clean)}", severities, rows)


def _graded(row: CorruptionRow | None, one: CorruptionSummary) -> Graded | None:
    if row is None:
        return None
    lost = 1 - (row.accuracy.value or 0.0) / one.clean.value if one.clean.value else 0.0
    return Graded(show(row.accuracy), round(SHADES * min(max(lost, 0.0), 1.0)))
