# SPDX-License-Identifier: Apache-2.0
"""The score: a vector of figures with intervals, and a grade only where enough of it was measured.

The grade is that of the worst component at the pessimistic end of its interval, capped by failed checks. No figures
are averaged: a strength in one place makes up for no weakness in another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from radproof.assess.detected import Detection, DetectionRow
from radproof.assess.grades import BAR, BARS, CHECKS, CLINICAL, LEAST, NEEDED, ROUNDING, Grade, cap, graded, worst
from radproof.assess.result import Cell, Component, CorruptionSummary, Result, Score, Smallest
from radproof.core.records import Doubt, Estimate

BARE = "none"
BROKEN = ("no-threshold", "rate-not-kept", "benign-alarms")  # a detector so doubted detects nothing
ENOUGH = 10  # successes that an attack must have to be the one a detector is judged on, where any has so many
SMALL, LARGE = CLINICAL


@dataclass(frozen=True)
class Findings:
    """What a score is read from: fields of a result."""

    cells: Sequence[Cell]
    smallest: Smallest | None
    detection: Sequence[Detection]
    corruptions: Sequence[CorruptionSummary]
    doubts: Sequence[Doubt]


def findings_of(result: Result) -> Findings:
    """The same of a finished result."""
    return Findings(result.cells, result.smallest, result.detection, result.corruptions, result.doubts)


@dataclass(frozen=True)
class Measured:
    """A component before it is graded."""

    estimate: Estimate | None
    at: str = ""  # what it is of: "4/255, any wrong answer"
    reason: str = ""  # why there is no estimate, or why it must not be graded


def scores(findings: Findings) -> tuple[Score, ...]:
    """One score per contender, the bare model first."""
    names = dict.fromkeys(cell.defense for cell in findings.cells if cell.column == "clean")
    return tuple(_score(findings, name) for name in sorted(names, key=lambda name: name != BARE))


def _score(findings: Findings, contender: str) -> Score:
    serious = concerning(findings, contender)
    failed = tuple(dict.fromkeys(doubt.kind for doubt in serious))
    measured = {
        "robust_small": _robust(findings, contender, SMALL),
        "robust_large": _robust(findings, contender, LARGE),
        "smallest": _smallest(findings, contender),
        "missed_findings": _missed(findings, contender),
        "detection": _detection(findings, contender),
        "corruptions": _corruptions(findings, contender),
        "calibration": _clean(findings, contender, "ece"),
        "calibration_attacked": _ece_attacked(findings, contender),
        "brier": _clean(findings, contender, "brier"),
        "validity": _validity(findings, contender, failed),
    }
    components = tuple(_component(bar.name, measured[bar.name]) for bar in BARS)
    grade, reason = overall(components, failed)
    return Score(contender=contender, components=components, failed=failed, grade=grade, reason=reason)


def overall(components: Sequence[Component], failed: Sequence[str]) -> tuple[Grade | None, str]:
    """The grade of the vector under the caps of failed checks, and why it is so in words."""
    told: dict[str, Grade] = {one.name: one.grade for one in components if one.grade is not None}
    could = [one.name for one in components if BAR[one.name].steps is not None]
    if NEEDED not in told:
        return None, f"no grade: {BAR[NEEDED].title.lower()} was not measured at the budget that the grade is about"
    if len(told) < LEAST:
        return None, f"no grade: {len(told)} of {len(could)} components can be graded, at least {LEAST} are needed"
    lowest = worst(list(told.values()))
    names = [BAR[name].title.lower() for name, grade in told.items() if grade == lowest]
    held: dict[str, Grade] = {kind: cap(kind) for kind in failed}
    capped: Grade = worst(list(held.values())) if held else "A"
    if worst([capped, lowest]) == lowest:
        return lowest, f"the worst of {len(told)} graded components: {', '.join(names)}"
    kinds = [kind.replace("-", " ") for kind, grade in held.items() if grade == capped]
    return capped, f"capped by failed checks: {', '.join(kinds)}; without the cap it would be {lowest}"


def concerning(findings: Findings, contender: str) -> list[Doubt]:
    """The serious doubts about everything or about this contender; those about detectors are the bare model's."""
    about = {cell.key for cell in findings.cells if cell.defense == contender} | {"all"}
    about |= {f"defense:{contender}"} | ({"clean", "smallest"} if contender == BARE else {contender})
    return [
        doubt
        for doubt in findings.doubts
        if doubt.severity == "serious"
        and (doubt.about in about or (contender == BARE and doubt.about.startswith("detector:")))
    ]


def _component(name: str, measured: Measured) -> Component:
    bar, estimate = BAR[name], measured.estimate
    there = estimate is not None and estimate.value is not None
    bound = (estimate.low if bar.better == "higher" else estimate.high) if estimate else None
    grade = graded(bar, bound) if bound is not None and there and not measured.reason else None
    reason = measured.reason or ("" if there else "no images to measure on")
    return Component(name=name, at=measured.at, estimate=estimate, bound=bound, grade=grade, reason=reason)


def headline(cells: Sequence[Cell], contender: str, goal: str, wanted: float) -> Cell | None:
    """The headline at a budget, else at the next larger one, else at the largest below it."""
    found = [
        cell
        for cell in cells
        if (cell.column, cell.defense, cell.goal, cell.threat) == ("headline", contender, goal, "linf")
    ]
    enough = [cell for cell in found if cell.eps >= wanted - ROUNDING]
    return min(enough, key=lambda c: c.eps) if enough else max(found, key=lambda c: c.eps, default=None)


def _at(cell: Cell | None, wanted: float, estimate: Estimate | None) -> Measured:
    """A larger budget than wanted is the harder test and may be graded; a smaller one may not."""
    if cell is None:
        return Measured(None, reason="not measured: no attack within an L-infinity budget")
    easier = cell.eps < wanted - ROUNDING
    reason = f"not graded: measured at {cell.budget} only, an easier test" if easier else ""
    return Measured(estimate, cell.budget, reason)


def _robust(findings: Findings, contender: str, wanted: float) -> Measured:
    cell = headline(findings.cells, contender, "misclassify", wanted)
    return _at(cell, wanted, cell.robust_accuracy if cell else None)


def _ece_attacked(findings: Findings, contender: str) -> Measured:
    cell = headline(findings.cells, contender, "misclassify", LARGE)
    return _at(cell, LARGE, cell.scores.ece if cell else None)


def _missed(findings: Findings, contender: str) -> Measured:
    narrow = headline(findings.cells, contender, "missed-finding", LARGE)
    cell = narrow or headline(findings.cells, contender, "misclassify", LARGE)
    if cell is not None and cell.scores.missed_findings is None:
        return Measured(None, reason="not measured: no class means Normal")
    return _at(cell, LARGE, cell.scores.missed_findings if cell else None)


def _smallest(findings: Findings, contender: str) -> Measured:
    if contender != BARE:
        return Measured(None, reason="not measured: searched for the bare model alone")
    if findings.smallest is None:
        return Measured(None, reason="not measured: the plan leaves the search out")
    return Measured(findings.smallest.median_stored, findings.smallest.attack)


def _detection(findings: Findings, contender: str) -> Measured:
    if contender != BARE or not findings.detection:
        why = "detectors guard the bare model alone" if findings.detection else "no detectors in the plan"
        return Measured(None, reason=f"not measured: {why}")
    broken = {
        d.about.removeprefix("detector:") for d in findings.doubts if d.kind in BROKEN and d.severity == "serious"
    }
    kept = [one for one in findings.detection if one.detector not in broken and one.threshold is not None]
    if not kept:
        return Measured(None, reason="not measured: no detector kept its promised rate of false alarms")
    cell = headline(findings.cells, contender, "misclassify", LARGE)
    tried = [one for one in kept if any(row.kind == "aware" for row in one.rows)]  # those that nobody knew look better
    hardest = [(one, _hardest(one, cell.eps if cell else 0.0)) for one in tried or kept]
    found = [(one, row, row.detected) for one, row in hardest if row is not None]
    if not found:
        return Measured(None, reason="not measured: no attack within a budget succeeded")
    best, row, detected = max(found, key=lambda pair: pair[2].low or 0.0)
    rate = f"{100 * best.promised_rate:g} %"
    at = f"{best.detector} at a promised {rate} of false alarms, on {row.attack} at {row.budget}"
    return Measured(detected, at, _at(cell, LARGE, detected).reason)


def _hardest(detection: Detection, eps: float) -> DetectionRow | None:
    """What it flags least of at this budget: attacks that know the detector count as much as those that do not."""
    rows = [row for row in detection.rows if abs(row.eps - eps) < ROUNDING and row.detected.value is not None]
    enough = [row for row in rows if row.detected.n >= ENOUGH]
    return min(enough or rows, key=lambda row: row.detected.low or 0.0, default=None)


def _corruptions(findings: Findings, contender: str) -> Measured:
    found = next((one for one in findings.corruptions if one.defense == contender), None)
    if found is None:
        return Measured(None, reason="not measured: no graded corruption in the plan")
    kinds = len({row.corruption for row in found.rows})
    return Measured(found.kept, f"{kinds} of the graded corruptions")


def _clean(findings: Findings, contender: str, figure: str) -> Measured:
    cell = next((c for c in findings.cells if c.column == "clean" and c.defense == contender), None)
    estimate: Estimate | None = getattr(cell.scores, figure) if cell else None
    return Measured(estimate, "clean images", "" if estimate else "not measured")


def _validity(findings: Findings, contender: str, failed: Sequence[str]) -> Measured:
    ran = {"always"} | ({"attacked"} if headline(findings.cells, contender, "misclassify", LARGE) else set())
    ran |= {"defended"} if contender != BARE else {"detectors"} if findings.detection else set()
    made = {kind for kind, where in CHECKS.items() if where in ran} | set(failed)
    share = 1 - len(failed) / len(made)
    counted = Estimate(value=share, low=share, high=share, method="counted, not sampled: no interval", n=len(made))
    return Measured(counted, f"{len(made) - len(failed)} of {len(made)} checks")
