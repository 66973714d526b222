# SPDX-License-Identifier: Apache-2.0
"""The sentence at the top of a report, made from the figures and never stronger than the doubts allow."""

from collections.abc import Sequence

from radproof.assess.result import Cell, Smallest
from radproof.core.params import show_fraction
from radproof.core.records import Doubt, Estimate

HELD = 0.8  # share of right answers that must survive, at the interval's bound, for "withstood"


def verdict(cells: Sequence[Cell], smallest: Smallest | None, doubts: Sequence[Doubt]) -> str:
    """Two or three plain sentences: what small changes do, at which size, and whether a defence helps."""
    headline = [c for c in cells if c.column == "headline"]
    bare = sorted((c for c in headline if c.defense == "none"), key=lambda c: (c.goal != "misclassify", c.eps))
    if not bare:
        return "No attack was made; only the answers to clean images were measured."
    return " ".join(
        part for part in (_bare(bare[0], doubts), _median(smallest), *_defenses(headline, bare[0], doubts)) if part
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


def _defenses(headline: Sequence[Cell], bare: Cell, doubts: Sequence[Doubt]) -> list[str]:
    same = [c for c in headline if c.defense != "none" and (c.goal, c.eps) == (bare.goal, bare.eps)]
    found: list[str] = []
    for cell in same:
        if cell.robust_accuracy is None or bare.robust_accuracy is None or cell.robust_accuracy.value is None:
            continue
        gained = cell.robust_accuracy.value - (bare.robust_accuracy.value or 0)
        about = [d for d in doubts if d.severity == "serious" and cell.defense in d.about]
        kept = f"{_percent(cell.robust_accuracy)} of the images are still answered rightly"
        if about:
            found.append(f"Whether {cell.defense} helps is not established.")
        elif gained < 0.05:
            found.append(f"With {cell.defense}, against an attacker who knows it, {kept}: it does not help.")
        else:
            found.append(f"With {cell.defense}, against an attacker who knows it, {kept}.")
    return found


def _levels(cell: Cell) -> str:
    return f"{cell.budget} of the grey scale"


def _percent(e: Estimate) -> str:
    if e.value is None or e.low is None or e.high is None:
        return "none"
    return f"{100 * e.value:.0f} % ({100 * e.low:.0f}–{100 * e.high:.0f})"
