# SPDX-License-Identifier: Apache-2.0
"""The sentence at the top of a report, made from the figures and never stronger than the doubts allow."""

from collections.abc import Sequence

from radproof.assess.result import Cell, Smallest
from radproof.core.params import show_fraction
from radproof.core.records import Doubt, Estimate

REFERENCE = 4 / 255  # the largest budget up to this is the one that defences are told by
HELD = 0.8  # share of right answers that must survive, at the interval's bound, for "withstood"


def verdict(cells: Sequence[Cell], smallest: Smallest | None, doubts: Sequence[Doubt]) -> str:
    """Two or three plain sentences: what small changes do, at which size, and whether a defence helps."""
    headline = [c for c in cells if c.column == "headline"]
    bare = sorted((c for c in headline if c.defense == "none"), key=lambda c: (c.goal != "misclassify", c.eps))
    if not bare:
        return "No attack was made; only the answers to clean images were measured."
    return " ".join(
        part for part in (_bare(bare[0], doubts), _median(smallest), *_defenses(cells, bare[0].goal, doubts)) if part
    )


def _bare(cell: Cell, doubts: Sequence[Doubt]) -> str:
    success = cell.success
    if success is None or success.value is None or success.low is None or success.high is None:
        return "No image was answered rightly before any attack, so there was nothing to attack."
    changed = f"a change of at most {_levels(cell)} turns {_percent(success)} of the right answers"
    if success.low >= 0.5:
        return f"Easily fooled: {changed}."
    if success.low > 0 and 1 - success.high < HELD:
        return f"Fooled in part: {changed}."
    serious = [d for d in doubts if d.severity == "serious"]
    if serious or 1 - success.high < HELD:
        return f"Resistance is not established: {changed}" + (f", but {serious[0].message}." if serious else ".")
    return f"The model withstood the attacks tried: {changed}."


def _median(smallest: Smallest | None) -> str:
    if smallest is None or smallest.median_float.value is None:
        return ""
    eps = smallest.median_float.value
    if eps >= smallest.most:
        return f"Half of the images withstood the largest change tried, {show_fraction(smallest.most)}."
    return f"Half of the images are fooled by {eps * 255:.2g}/255 or less."


def _defenses(cells: Sequence[Cell], goal: str, doubts: Sequence[Doubt]) -> list[str]:
    """What each defence leaves of the right answers at the reference budget, and what it costs without an attack."""
    headline = [c for c in cells if c.column == "headline" and c.goal == goal]
    eps = max((c.eps for c in headline if c.eps <= REFERENCE), default=min(c.eps for c in headline))
    at = {c.defense: c for c in headline if c.eps == eps}
    clean = {c.defense: c.scores.accuracy for c in cells if c.column == "clean"}
    found: list[str] = []
    for name, cell in at.items():
        kept, bare, before, after = cell.robust_accuracy, at["none"].robust_accuracy, clean["none"], clean.get(name)
        if name == "none" or not kept or not bare or not after or kept.value is None or bare.value is None:
            continue
        what = (
            f"With {name}, {_percent(kept)} of the images are answered rightly under attack at {cell.budget} "
            f"({_percent(bare)} without it), and {_percent(after)} without attack ({_percent(before)} without it)"
        )
        serious = [d for d in doubts if d.severity == "serious" and name in d.about]
        found.append(
            f"{what}: {'whether it helps is not established' if serious else _judged(kept, bare, before, after)}."
        )
    return found


def _judged(kept: Estimate, bare: Estimate, before: Estimate, after: Estimate) -> str:
    if kept.low is None or bare.value is None or kept.low <= bare.value:
        return "it does not help"
    gain, cost = (kept.value or 0) - bare.value, (before.value or 0) - (after.value or 0)
    return "it costs more than it brings" if cost > gain else "it helps"


def _levels(cell: Cell) -> str:
    return f"{cell.budget} of the grey scale"


def _percent(e: Estimate) -> str:
    if e.value is None or e.low is None or e.high is None:
        return "none"
    return f"{100 * e.value:.0f} % ({100 * e.low:.0f}–{100 * e.high:.0f})"
