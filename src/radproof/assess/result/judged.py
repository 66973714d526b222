# SPDX-License-Identifier: Apache-2.0
"""What is judged at the bounds of the figures: gates and grades."""

from typing import Literal

from radproof.assess.grades import Grade
from radproof.core.records import Estimate, Record


class GateVerdict(Record):
    """One promise of the plan's `gate:`, judged at the bound of the figure's interval."""

    sentence: str
    metric: str  # robust_accuracy, attack_success, …, doubts, not_worse
    verdict: Literal["passed", "failed", "not established"]
    figure: Estimate | None
    about: str  # the cell, detector or run that the figure is of
    message: str  # one sentence with the figures, and with the doubt where one stands


class Component(Record):
    """One figure of a score."""

    name: str  # of grades.BARS
    at: str  # what it is of: "4/255", "clean images"
    estimate: Estimate | None
    bound: float | None  # the pessimistic end of the interval
    grade: Grade | None
    reason: str  # why there is no figure or no grade; "" otherwise


class Score(Record):
    """The vector of one contender, and a grade where enough of it was measured."""

    contender: str  # "none" or the defence
    components: tuple[Component, ...]
    failed: tuple[str, ...]  # kinds of serious doubts that concern it
    grade: Grade | None
    reason: str  # what the grade rests on, or why there is none
