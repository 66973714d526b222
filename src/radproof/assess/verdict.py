# SPDX-License-Identifier: Apache-2.0
"""The sentence at the top of a report, made from the figures and never stronger than the doubts allow."""

from collections.abc import Sequence
from dataclasses import dataclass

from radproof.assess.result import Cell, Gain, Smallest, serious
from radproof.core.params import show_fraction
from radproof.core.records import Doubt, Estimate

REFERENCE = 4 / 255 + 1e-9  # with room for rounding: the largest budget up to this is the one that defences are told by
SPELLED_OUT = 3  # defences; more are summed up
HELPS, TOO_DEAR = "it helps", "it costs more than it brings"
UNSURE = "whether it helps is not established"
NO_HELP = "it does not help"
TOO_FEW = "these images are too few to tell whether it helps"
HELD = 0.8  # share of right answers that must survive, at the interval's bound, for "withstood"


def verdict(
    cells: Sequence[Cell], smallest: Smallest | None, doubts: Sequence[Doubt], gains: Sequence[Gain] = ()
) -> str:
    """Plain sentences: what small changes do, at which size, and whether a defence helps."""
    headline = [c for c in cells if c.column == "headline"]
    bare = [c for c in headline if c.defense == "none"]
    if not bare:
        if any(c.column == "oblivious" for c in cells):
            return "No attack within a norm was made; what other threats do stands in their own table."
        return "No attack was made; only the answers to clean images were measured."
    goal = "misclassify" if any(c.goal == "misclassify" for c in bare) else bare[0].goal
    ladder = sorted((c for c in bare if c.goal == goal), key=lambda c: c.eps)
    told = next((c for c in ladder if c.success and (c.success.low or 0) >= 0.5), _reference(ladder))
    parts = (_bare(told, _serious(cells, told, doubts)), _median(smallest), *_defenses(cells, goal, doubts, gains))
    return " ".join(part for part in parts if part)


def _reference(ladder: Sequence[Cell]) -> Cell:
    """The largest budget up to 4/255, else the smallest there is."""
    return max((c for c in ladder if c.eps <= REFERENCE), key=lambda c: c.eps, default=ladder[0])


def _serious(cells: Sequence[Cell], told: Cell, doubts: Sequence[Doubt]) -> tuple[Doubt, ...]:
    """The serious doubts about what is told, or about the clean answers that it is compared with."""
    about = [told, *(c for c in cells if c.column == "clean" and c.defense == told.defense)]
    return tuple(d for d in doubts if any(d in serious(doubts, cell) for cell in about))


def _bare(cell: Cell, doubts: Sequence[Doubt]) -> str:
    success = cell.success
    if success is None or success.value is None or success.low is None or success.high is None:
        return "No image was answered rightly before any attack, so there was nothing to attack."
    changed = f"{_change(cell)} turns {_percent(success)} of the right answers"
    if success.low >= 0.5:
        return f"Easily fooled: {changed}."
    if success.low > 0 and 1 - success.high < HELD:
        return f"Fooled in part: {changed}."
    if doubts or 1 - success.high < HELD:
        return f"Resistance is not established: {changed}" + (f", but {doubts[0].message}." if doubts else ".")
    return f"The model withstood the attacks tried: {changed}."


def _median(smallest: Smallest | None) -> str:
    if smallest is None or smallest.median_float.value is None:
        return ""
    eps = smallest.median_float.value
    if eps >= smallest.most:
        return f"Half of the images withstood the largest change tried, {show_fraction(smallest.most)}."
    return f"Half of the images are fooled by {eps * 255:.2g}/255 or less."


def _defenses(cells: Sequence[Cell], goal: str, doubts: Sequence[Doubt], gains: Sequence[Gain]) -> list[str]:
    """What each defence leaves of the right answers at the reference budget, and what it costs without an attack."""
    headline = [c for c in cells if c.column == "headline" and c.goal == goal]
    eps = _reference(sorted(headline, key=lambda c: c.eps)).eps
    at = {c.defense: c for c in headline if c.eps == eps}
    paired = {g.defense: g for g in gains if (g.goal, g.eps) == (goal, eps)}
    # Clean figures are of all images: comparable only with a goal that concerns all.
    clean = {c.defense: c.robust_accuracy for c in cells if c.column == "clean"} if goal == "misclassify" else {}
    found: list[_Told] = []
    for name, cell in at.items():
        kept, bare = cell.robust_accuracy, at["none"].robust_accuracy
        if name == "none" or not kept or not bare or kept.value is None or bare.value is None:
            continue
        what = (
            f"With {name}, {_percent(kept)} of the images are answered rightly under attack at {cell.budget} "
            f"({_percent(bare)} without it)"
        )
        before, after = clean.get("none"), clean.get(name)
        if before and after:
            what += f", and {_percent(after)} without attack ({_percent(before)} without it)"
        judged = _paired(paired[name]) if name in paired else _judged(kept, bare, before, after)
        # A doubt about a defence says that it is worse than it looks: what does not even look good needs none.
        why = serious(doubts, at["none"]) if judged in (NO_HELP, TOO_FEW) else _serious(cells, cell, doubts)
        because = f", as {why[0].message}" if why and why[0].about != "all" else ""
        found.append(_Told(name, what, UNSURE if why else judged, because, kept.value))
    return [told.sentence for told in found] if len(found) <= SPELLED_OUT else _summed_up(found)


@dataclass(frozen=True)
class _Told:
    """What there is to say of one defence."""

    name: str
    what: str
    judged: str
    because: str
    kept: float

    @property
    def sentence(self) -> str:
        return f"{self.what}: {self.judged}{self.because}."


def _summed_up(found: Sequence[_Told]) -> list[str]:
    """Many defences: how many of each kind, and the best in full."""
    groups: dict[str, list[str]] = {HELPS: [], TOO_DEAR: [], TOO_FEW: [], NO_HELP: [], UNSURE: []}
    for told in found:
        groups[told.judged].append(told.name)
    words = {
        HELPS: "helping",
        TOO_DEAR: "costing more than they bring",
        NO_HELP: "not helping",
        TOO_FEW: "too close to tell",
        UNSURE: "not established",
    }
    kinds = [f"{len(names)} {words[judged]} ({', '.join(names)})" for judged, names in groups.items() if names]
    best = max(found, key=lambda told: (told.judged == HELPS, told.kept))
    return [
        f"Of {len(found)} defences: {'; '.join(kinds)}.",
        f"The best: {best.sentence[0].lower()}{best.sentence[1:]}",
    ]


def _paired(gain: Gain) -> str:
    """The judgement that the paired difference allows."""
    brings, price = gain.robust, -(gain.clean.value or 0.0)
    if brings.value is None or brings.low is None or brings.value <= 0:
        return NO_HELP
    if brings.low <= 0:
        return TOO_DEAR if brings.high is not None and price > brings.high else TOO_FEW
    return TOO_DEAR if price > brings.value else HELPS


def _judged(kept: Estimate, bare: Estimate, before: Estimate | None, after: Estimate | None) -> str:
    if kept.low is None or bare.value is None or kept.low <= bare.value:
        return NO_HELP
    gain = (kept.value or 0) - bare.value
    cost = (before.value or 0) - (after.value or 0) if before and after else 0.0
    return TOO_DEAR if cost > gain else HELPS


def _change(cell: Cell) -> str:
    size = "a change with a root mean square of at most" if cell.threat == "l2" else "a change of at most"
    return f"{size} {cell.budget} of the grey scale"


def _percent(e: Estimate) -> str:
    if e.value is None or e.low is None or e.high is None:
        return "none"
    return f"{100 * e.value:.0f} % ({100 * e.low:.0f}–{100 * e.high:.0f})"
