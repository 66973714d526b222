# SPDX-License-Identifier: Apache-2.0
"""The sentences that a plan's `gate:` holds, as records: what is promised, of which figure, and at which bound."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from radproof.core.names import nearest
from radproof.core.params import fraction, show_fraction
from radproof.errors import BadPlan

GRAMMAR = """\
  robust_accuracy >= 0.6 @ 4/255 [with DEFENCE] [under ATTACK] [for GOAL]
  attack_success <= 0.3 @ 1/255 [with DEFENCE] [under ATTACK] [for GOAL]
  missed_findings <= 0.1 [@ 1/255] [with DEFENCE] [under ATTACK] [for GOAL]
  clean_accuracy >= 0.8 [with DEFENCE]
  detection >= 0.9 @ 1/255 by DETECTOR [under ATTACK] [for GOAL]
  certified_accuracy >= 0.3 @ radius 0.25 [with DEFENCE]
  grade >= C [with DEFENCE]
  no serious doubts
  not worse than RUN by 0.02 [@ 4/255] [with DEFENCE] [for GOAL]"""

DOUBTS, COMPARED, GRADES = "doubts", "not_worse", "ABCDE"
_WORSE = "not worse than"
_ATTACKED = frozenset({"@", "with", "under", "for"})
_CLAUSES = {  # of each metric: which way it is bounded, and what may follow
    "robust_accuracy": (">=", _ATTACKED),
    "attack_success": ("<=", _ATTACKED),
    "missed_findings": ("<=", _ATTACKED),
    "clean_accuracy": (">=", frozenset({"with"})),
    "detection": (">=", frozenset({"@", "by", "under", "for"})),
    "certified_accuracy": (">=", frozenset({"@", "with"})),
    "grade": (">=", frozenset({"with"})),
}
FIGURES = {name: way for name, (way, _) in _CLAUSES.items()}  # metric -> how it is bounded
_AT = ("robust_accuracy", "attack_success", "detection", "certified_accuracy")  # at a budget, unless an attack is named
_CLAUSE = re.compile(r"\s+(?:(@)\s*|(with|under|for|by)\s+)")
_PROMISE = re.compile(r"(\w+)\s*(>=|<=|=>|=<|==|=|>|<|≥|≤)\s*(\S+)")


@dataclass(frozen=True)
class Gate:
    """One sentence, read."""

    text: str
    metric: str  # of the list above, "doubts" or "not_worse"
    bound: float = 0.0  # the share, or by how much a run may be worse
    grade: str = ""
    eps: float | None = None
    radius: float | None = None
    defense: str = "none"
    attack: str = ""  # "": the per-image worst of all
    goal: str = ""  # "": the plan's own
    detector: str = ""
    run: str = ""  # folder of the run to compare with

    @property
    def at_least(self) -> bool:
        """Whether the figure has to be high: its low bound counts then, else its high one."""
        return self.metric not in ("attack_success", "missed_findings")

    @property
    def shown(self) -> str:
        """The sentence without the folders above a run."""
        return self.text.replace(self.run, Path(self.run).name, 1) if self.run else self.text


def read_gate(sentence: str) -> Gate:
    """The gate that a sentence means. Raises BadPlan naming the sentence and showing the grammar."""
    head, clauses = _clauses(sentence)
    if head == "no serious doubts":
        _only(sentence, clauses, frozenset())
        return Gate(sentence, DOUBTS)
    if head.startswith(f"{_WORSE} "):
        _only(sentence, clauses, frozenset({"by", "@", "with", "for"}))
        if "by" not in clauses:
            raise _bad(sentence, "say by how much it may be worse: by 0.02")
        run = head.removeprefix(_WORSE).strip()
        return _told(Gate(sentence, COMPARED, _share(sentence, clauses.pop("by")), run=run), clauses)
    promise = _PROMISE.fullmatch(head)
    if promise is None:
        raise _bad(sentence, "no such form")
    metric, operator, value = promise.groups()
    if metric not in _CLAUSES:
        raise _bad(sentence, f"no figure is called {metric!r}{nearest(metric, _CLAUSES)}")
    way, known = _CLAUSES[metric]
    if operator.replace("≥", ">=").replace("≤", "<=") != way:
        raise _bad(sentence, f"{metric} is promised with {way}, not {operator}")
    _only(sentence, clauses, known)
    if metric == "grade":
        if value not in GRADES:
            raise _bad(sentence, f"a grade is one of {', '.join(GRADES)}, got {value!r}")
        return _told(Gate(sentence, metric, grade=value), clauses)
    if metric == "detection" and "by" not in clauses:
        raise _bad(sentence, "name the detector: by DETECTOR")
    if metric in _AT and not {"@", "under"} & clauses.keys():
        raise _bad(sentence, "a budget is missing: @ " + ("radius 0.25" if "certified" in metric else "4/255"))
    return _told(Gate(sentence, metric, _share(sentence, value)), clauses)


def check_gates(
    sentences: Iterable[str],
    *,
    budgets: Sequence[float],
    goals: Collection[str],
    attacks: Collection[str],
    contenders: Collection[str],
    detectors: Collection[str],
) -> None:
    """Refuse a sentence about something that the plan does not have. Raises BadPlan with the nearest known name."""
    for gate in map(read_gate, sentences):
        if gate.eps is not None and not any(abs(gate.eps - eps) < 1e-9 for eps in budgets):
            told = ", ".join(show_fraction(eps) for eps in budgets)
            raise _bad(gate.text, f"the plan's budgets are {told}, not {show_fraction(gate.eps)}")
        if gate.defense != "none":
            _known(gate, "defence", gate.defense, contenders)
        for what, name, known in (
            ("goal", gate.goal, goals),
            ("attack", gate.attack, attacks),
            ("detector", gate.detector, detectors),
        ):
            if name:
                _known(gate, what, name, known)


def anchor_gate(sentence: str, base: Path) -> str:
    """The sentence with the folder of its run made absolute."""
    gate = read_gate(sentence)
    return sentence.replace(gate.run, str((base / gate.run).resolve()), 1) if gate.run else sentence


def placed_gate(gate: Gate, run: str) -> str:
    """A sentence of `not worse than` again from its parts, with another name for the run.

    Raises BadPlan where the new one would not be read as the old one: such as for a folder with " by " in its name.
    """
    _, clauses = _clauses(gate.text)
    text = " ".join([f"{_WORSE} {run}", *(f"{keyword} {value}" for keyword, value in clauses.items())])
    if read_gate(text) != replace(gate, text=text, run=run):
        raise BadPlan("gate: the run's folder cannot stand in a sentence; give the server a home without such words")
    return text


def _known(gate: Gate, what: str, name: str, known: Collection[str]) -> None:
    """Parts go by their name with or without what stands in brackets."""
    bare = {other.partition("[")[0].partition("(")[0] for other in known}
    if name not in known and name.partition("[")[0].partition("(")[0] not in bare:
        hint = nearest(name, known) if known else "; it has none"
        raise _bad(gate.text, f"the plan has no {what} {name!r}{hint}")


def _clauses(sentence: str) -> tuple[str, dict[str, str]]:
    """What stands before the first clause, and the clauses by their keyword."""
    found = list(_CLAUSE.finditer(sentence))
    ends = [*(match.start() for match in found[1:]), *([len(sentence)] if found else [])]
    clauses: dict[str, str] = {}
    for match, end in zip(found, ends, strict=True):
        keyword = match[1] or match[2]
        if keyword in clauses:
            raise _bad(sentence, f"{keyword} stands there twice")
        clauses[keyword] = sentence[match.end() : end].strip()
    head = sentence[: found[0].start()] if found else sentence
    return " ".join(head.split()), clauses


def _told(gate: Gate, clauses: dict[str, str]) -> Gate:
    names = {"with": "defense", "under": "attack", "for": "goal", "by": "detector"}
    said = {names[keyword]: value for keyword, value in clauses.items() if keyword != "@"}
    if "@" in clauses:
        at = clauses["@"].removeprefix("radius").strip()
        if (gate.metric == "certified_accuracy") != clauses["@"].startswith("radius"):
            raise _bad(gate.text, "only certified_accuracy holds @ radius R; all others hold @ a budget, such as 4/255")
        where = "radius" if gate.metric == "certified_accuracy" else "eps"
        gate = replace(gate, **{where: _number(gate.text, at)})
    return replace(gate, **said)


def _only(sentence: str, clauses: dict[str, str], known: frozenset[str]) -> None:
    for keyword, value in clauses.items():
        if keyword not in known:
            raise _bad(sentence, f"{keyword} {value} does not belong there")
        if not value:
            raise _bad(sentence, f"nothing stands after {keyword}")


def _share(sentence: str, text: str) -> float:
    share = _number(sentence, text)
    if not 0 <= share <= 1:
        raise _bad(sentence, f"a share lies between 0 and 1, got {text}")
    return share


def _number(sentence: str, text: str) -> float:
    try:
        number = fraction(text)
    except ValueError as error:
        raise _bad(sentence, str(error)) from None
    if not isinstance(number, float) or not 0 <= number < float("inf"):
        raise _bad(sentence, f"expected a number, got {text!r}")
    return number


def _bad(sentence: str, why: str) -> BadPlan:
    return BadPlan(f"gate {sentence!r}: {why}; a gate is one of\n{GRAMMAR}")
