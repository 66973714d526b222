# SPDX-License-Identifier: Apache-2.0
"""Promises about a model, judged on a finished run: at the bound of the interval, and never against a doubt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from radproof.assess.compare import Compared, compare
from radproof.assess.differences import attacked_otherwise
from radproof.assess.finished import Finished, open_run
from radproof.assess.gate_sentence import COMPARED, DOUBTS, Gate, check_gates, read_gate
from radproof.assess.result import Cell, GateVerdict, Result
from radproof.core.records import Doubt, Estimate
from radproof.errors import BadInput

_NAMES = {
    "robust_accuracy": "accuracy under attack",
    "attack_success": "success of the attack",
    "missed_findings": "share of missed findings",
    "clean_accuracy": "accuracy on clean images",
    "detection": "share of fooling images that are flagged",
    "certified_accuracy": "certified accuracy",
}


@dataclass(frozen=True)
class _Figure:
    """One number that a gate is about, and what doubts may call it."""

    estimate: Estimate
    key: str
    told: str  # "sia at 4/255 behind jpeg_tvm"
    about: tuple[str, ...]


def judge(run: Finished, sentences: Iterable[str]) -> tuple[GateVerdict, ...]:
    """A verdict for each sentence, in order.

    A promise holds where the bound of the interval keeps it: the low one for >=, the high one for <=. One that holds
    while a serious doubt stands about the figure, or about all, is "not established", as is one about a figure that
    the run does not have; both count as failed. Raises BadPlan for a sentence that is no gate.
    """
    return tuple(_judged(run, read_gate(sentence)) for sentence in sentences)


def require_runs(sentences: Iterable[str]) -> None:
    """Raises BadInput where a run that a gate compares with is no finished run: better said before the work."""
    for gate in map(read_gate, sentences):
        if gate.run:
            open_run(Path(gate.run))


def check_known(result: Result, sentences: Iterable[str]) -> None:
    """Refuse a sentence about something that the run does not have. Raises BadPlan with the nearest known name."""
    attacked = [cell for cell in result.cells if cell.goal]
    check_gates(
        sentences,
        budgets=sorted({cell.eps for cell in attacked if cell.eps}),
        goals={cell.goal for cell in attacked},
        attacks={cell.attack for cell in attacked} - {"worst"},
        contenders={cell.defense for cell in result.cells} - {"none"},
        detectors={detection.detector for detection in result.detection},
    )


def _judged(run: Finished, gate: Gate) -> GateVerdict:
    if gate.metric == DOUBTS:
        return _no_doubts(run.result, gate)
    if gate.metric == COMPARED:
        return _not_worse(run, gate)
    if gate.metric == "grade":
        return _graded(run.result, gate)
    figures = _figures(run.result, gate)
    measured = [figure for figure in figures if figure.estimate.value is not None]
    if not measured:
        why = "nothing could be measured for it" if figures else _lacking(run.result, gate)
        return _verdict(gate, "not established", None, "", f"{_NAMES[gate.metric]}: {why}")
    figure = (min if gate.at_least else max)(measured, key=lambda f: _bound(f.estimate, gate))
    kept = _keeps(_bound(figure.estimate, gate), gate.bound, gate.at_least)
    side, relation = ("low", "at least") if gate.at_least else ("high", "at most")
    told = (
        f"{_NAMES[gate.metric]}{figure.told} is {_shown(figure.estimate)}; its {side} bound is "
        f"{'' if kept else 'not '}{relation} {gate.bound:g}"
    )
    return _weighed(run.result, gate, kept, figure.estimate, figure.key, told, figure.about)


def _figures(result: Result, gate: Gate) -> list[_Figure]:
    if gate.metric == "detection":
        return _detections(result, gate)
    if gate.metric == "certified_accuracy":
        return _certified(result, gate)
    found: list[_Figure] = []
    for cell in _cells(result, gate):
        estimate = {
            "robust_accuracy": cell.robust_accuracy,
            "attack_success": cell.success,
            "missed_findings": cell.scores.missed_findings,
            "clean_accuracy": cell.scores.accuracy,
        }[gate.metric]
        if estimate is not None:
            found.append(_Figure(estimate, cell.key, _place(cell, gate), _about(result, cell)))
    return found


def _cells(result: Result, gate: Gate) -> list[Cell]:
    """The cells that a gate is about: clean images, the headline, or one attack wherever it was made."""
    own = [cell for cell in result.cells if cell.defense == gate.defense]
    if gate.eps is None and not gate.attack:
        return [cell for cell in own if cell.column == "clean"]
    goal = gate.goal or _usual_goal(result, gate)
    columns = ("oblivious", "transfer", "adaptive") if gate.attack else ("headline",)
    at = [cell for cell in own if cell.column in columns and cell.goal == goal and _same(cell.eps, gate.eps or 0.0)]
    return [cell for cell in at if not gate.attack or _is(cell.attack, gate.attack)]


def _usual_goal(result: Result, gate: Gate) -> str:
    goals = list(dict.fromkeys(cell.goal for cell in result.cells if cell.goal))
    usual = ("missed-finding", "misclassify") if gate.metric == "missed_findings" else ("misclassify",)
    return next((goal for goal in usual if goal in goals), goals[0] if goals else "")


def _detections(result: Result, gate: Gate) -> list[_Figure]:
    goal = gate.goal or _usual_goal(result, gate)
    goal_ending = "" if goal == "misclassify" else f"{goal})"  # as rows are named: sia (false-alarm)
    found: list[_Figure] = []
    for detection in result.detection:
        for row in detection.rows if detection.detector == gate.detector and detection.threshold is not None else ():
            name, aim = row.attack.partition(" (")[::2]
            wanted = aim == goal_ending and (not gate.attack or _is(name, gate.attack))
            if wanted and _same(row.eps, gate.eps or 0.0):
                knowing = ", which knows it," if row.kind == "aware" else ""
                at = f" at {row.budget}" if row.budget else ""
                told = f" by {detection.detector} (made with {row.attack}{knowing}{at})"
                about = (f"detector:{detection.detector}",)
                found.append(_Figure(row.detected, about[0], told, about))
    return found


def _certified(result: Result, gate: Gate) -> list[_Figure]:
    """At the next radius of the curve, which is as large or larger: certified accuracy falls with the radius."""
    made = result.certified
    name = "model" if gate.defense == "none" else gate.defense
    if made is None or made.network != name:
        return []
    point = min((p for p in made.curve if p.radius >= (gate.radius or 0) - 1e-9), key=lambda p: p.radius, default=None)
    if point is None:
        return []
    clean = [c.key for c in result.cells if c.column == "clean" and c.defense == gate.defense]
    about = (*clean, f"defense:{gate.defense}")
    return [_Figure(point.accuracy, "certified", f" at radius {point.radius:g}", about)]


def _graded(result: Result, gate: Gate) -> GateVerdict:
    score = next((score for score in result.score if score.contender == gate.defense), None)
    if score is None or score.grade is None:
        why = score.reason if score else "the run has no score of it"
        return _verdict(gate, "not established", None, "", f"no grade{_behind(gate.defense)}: {why}")
    kept = score.grade <= gate.grade  # letters: A is the best
    told = f"the grade{_behind(gate.defense)} is {score.grade}, which is {'' if kept else 'not '}{gate.grade} or better"
    return _weighed(result, gate, kept, None, "score", told, ("score", f"defense:{gate.defense}"))


def _no_doubts(result: Result, gate: Gate) -> GateVerdict:
    serious = _serious(result)
    told = f"{len(serious)} serious doubts stand: {serious[0].message}" if serious else "no serious doubt stands"
    if len(serious) == 1:
        told = f"a serious doubt stands: {serious[0].message}"
    return _verdict(gate, "failed" if serious else "passed", None, "all", told)


def _not_worse(run: Finished, gate: Gate) -> GateVerdict:
    name = Path(gate.run).name
    try:
        other = open_run(Path(gate.run))
        compared = compare(run, other)
    except BadInput as error:
        return _verdict(gate, "not established", None, name, str(error))
    rows = [row for row in compared.rows if _asked(run.result, row, gate)]
    if not rows:
        return _verdict(gate, "not established", None, name, f"{name} holds no such figure to compare with")
    row = min(rows, key=lambda row: row.difference.low or 0.0)
    kept = _keeps(row.difference.low or 0.0, -gate.bound, True)
    under = f"accuracy under attack at {row.budget}" if row.eps else "accuracy on clean images"
    told = (
        f"{under}{_behind(row.defense)} differs from {name} by {_shown(row.difference, sign=True)} on the same "
        f"{row.difference.n} images; its low bound is {'' if kept else 'not '}at least {-gate.bound:g}"
    )
    asked = {(row.column, row.goal, row.eps) for row in rows}
    cells = [
        cell
        for cell in run.result.cells
        if cell.defense == gate.defense
        and cell.attack in ("none", "worst")
        and (cell.column, cell.goal, cell.eps) in asked
    ]
    about = [key for cell in cells for key in _about(run.result, cell)]
    unlike = attacked_otherwise(run.result, other.result) if any(row.eps for row in rows) else []
    verdict = _weighed(run.result, gate, kept, row.difference, name, told, about)
    if unlike:
        why = f"{told}, but the runs were not attacked alike: {'; '.join(unlike)}"
        verdict = _verdict(gate, "not established", row.difference, name, why)
    others = [line for line in compared.differences if line not in unlike]
    return verdict.model_copy(update={"message": "; ".join([verdict.message, *others])})


def _asked(result: Result, row: Compared, gate: Gate) -> bool:
    """Without a budget: clean images and every budget; the worst of them decides."""
    goal = gate.goal or _usual_goal(result, gate)
    if row.defense != gate.defense or row.goal not in ("", goal):
        return False
    return gate.eps is None or (row.column == "headline" and _same(row.eps, gate.eps))


def _weighed(
    result: Result, gate: Gate, kept: bool, figure: Estimate | None, key: str, told: str, about: Sequence[str]
) -> GateVerdict:
    """A promise that is kept is believed only where no serious doubt stands; one that is broken needs no doubt."""
    doubts = _serious(result, about) if kept else []
    if doubts:
        return _verdict(gate, "not established", figure, key, f"{told}, but {doubts[0].message}")
    return _verdict(gate, "passed" if kept else "failed", figure, key, told)


def _serious(result: Result, about: Sequence[str] | None = None) -> list[Doubt]:
    """Serious doubts about any of these or about all; without `about` every one."""
    serious = [doubt for doubt in result.doubts if doubt.severity == "serious"]
    return serious if about is None else [doubt for doubt in serious if doubt.about in (*about, "all", "")]


def _about(result: Result, cell: Cell) -> tuple[str, ...]:
    """The cell, what its worst is made of, and the clean answers of the same defence, on which all rests."""
    same = [c for c in result.cells if c.defense == cell.defense]
    beside = [c.key for c in same if c.column == "clean"]
    if cell.attack == "worst":
        beside += [c.key for c in same if c.goal == cell.goal and _same(c.eps, cell.eps)]
    return (cell.key, *beside, f"defense:{cell.defense}")


def _lacking(result: Result, gate: Gate) -> str:
    if gate.metric == "certified_accuracy":
        return "the run certified no such network up to this radius"
    if gate.metric == "detection":
        return f"the run has no threshold of {gate.detector} with such images"
    told = sorted({(c.eps, c.budget) for c in result.cells if c.column == "headline"})
    return "the run has no such figure" + (f"; its budgets are {', '.join(b for _, b in told)}" if told else "")


def _place(cell: Cell, gate: Gate) -> str:
    attack = f" ({cell.attack}, made on {cell.made_on})" if gate.attack else ""
    at = f" at {cell.budget}" if cell.budget else ""
    return f"{at}{_behind(cell.defense)}{attack}"


def _behind(defense: str) -> str:
    return "" if defense == "none" else f" with {defense}"


def _is(label: str, name: str) -> bool:
    """A label such as sia(copies=4) or stm[neural] goes by its whole name and by what stands before the bracket."""
    return label == name or label.partition("[")[0].partition("(")[0] == name


def _same(eps: float, other: float) -> bool:
    return abs(eps - other) < 1e-9


def _bound(estimate: Estimate, gate: Gate) -> float:
    bound = estimate.low if gate.at_least else estimate.high
    return 0.0 if bound is None else bound


def _keeps(bound: float, promised: float, at_least: bool) -> bool:
    """With room for rounding, so that an interval that ends at the promise keeps it."""
    return bound >= promised - 1e-9 if at_least else bound <= promised + 1e-9


def _shown(e: Estimate, *, sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    return f"{e.value:{form}} ({e.low:{form}} to {e.high:{form}}), n {e.n}"


def _verdict(gate: Gate, verdict: str, figure: Estimate | None, about: str, message: str) -> GateVerdict:
    record = {"sentence": gate.shown, "metric": gate.metric, "verdict": verdict, "figure": figure}
    return GateVerdict.model_validate({**record, "about": about, "message": message})
