# SPDX-License-Identifier: Apache-2.0
"""What the attacker wants, for single-label (softmax) and multi-label (sigmoid) heads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from radproof.core.names import nearest
from radproof.core.types import Goal, Head
from radproof.errors import BadPlan, UnknownName

NORMAL = ("normal", "no finding")


@dataclass(frozen=True)
class Misclassify:
    """Any class but the true one: climb the cross-entropy of the truth."""

    y: Tensor  # (N,)

    def loss(self, logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, self.y, reduction="none")

    def reached(self, logits: Tensor) -> Tensor:
        return logits.argmax(1) != self.y

    def __getitem__(self, rows: Tensor) -> Self:
        return replace(self, y=self.y[rows])


@dataclass(frozen=True)
class Towards:
    """One chosen class: descend its cross-entropy. `missed-finding` is this, towards Normal."""

    y: Tensor  # (N,)
    target: Tensor  # (N,)

    def loss(self, logits: Tensor) -> Tensor:
        return -F.cross_entropy(logits, self.target, reduction="none")

    def reached(self, logits: Tensor) -> Tensor:
        return logits.argmax(1) == self.target

    def __getitem__(self, rows: Tensor) -> Self:
        return replace(self, y=self.y[rows], target=self.target[rows])


@dataclass(frozen=True)
class AnyFinding:
    """A multi-label answer that differs from the truth in any finding: climb the summed binary cross-entropy."""

    y: Tensor  # (N, K) in {0, 1}

    def loss(self, logits: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, self.y.to(logits), reduction="none").sum(1)

    def reached(self, logits: Tensor) -> Tensor:
        return ((logits > 0) != (self.y > 0.5)).any(1)

    def __getitem__(self, rows: Tensor) -> Self:
        return replace(self, y=self.y[rows])


@dataclass(frozen=True)
class MissAll:
    """A multi-label answer that names none of the findings that are there: disease read as normal."""

    y: Tensor  # (N, K) in {0, 1}

    def loss(self, logits: Tensor) -> Tensor:
        y = self.y.to(logits)
        return (F.binary_cross_entropy_with_logits(logits, y, reduction="none") * y).sum(1)

    def reached(self, logits: Tensor) -> Tensor:
        return ~((logits > 0) & (self.y > 0.5)).any(1)

    def __getitem__(self, rows: Tensor) -> Self:
        return replace(self, y=self.y[rows])


@dataclass(frozen=True)
class Flip:
    """One finding of a multi-label answer turned over."""

    y: Tensor  # (N, K) in {0, 1}
    finding: int

    def loss(self, logits: Tensor) -> Tensor:
        k = self.finding
        return F.binary_cross_entropy_with_logits(logits[:, k], self.y[:, k].to(logits), reduction="none")

    def reached(self, logits: Tensor) -> Tensor:
        return (logits[:, self.finding] > 0) != (self.y[:, self.finding] > 0.5)

    def __getitem__(self, rows: Tensor) -> Self:
        return replace(self, y=self.y[rows])


GOALS = {
    "misclassify": "any wrong answer (untargeted)",
    "target:CLASS": "the answer CLASS, on images of other classes",
    "missed-finding": "disease read as Normal, on images with disease",
    "false-alarm": "Normal read as disease, on normal images",
    "flip:FINDING": "one finding turned over (sigmoid heads)",
}


def normal_class(labels: Sequence[str]) -> int:
    """The class that means "nothing found": Normal or No Finding; else a clear refusal."""
    for index, label in enumerate(labels):
        if label.strip().lower() in NORMAL:
            return index
    raise BadPlan(
        f"the goals missed-finding and false-alarm need a class called Normal or No Finding; "
        f"the model's classes are {', '.join(labels)}"
    )


def scope(name: str, y: Tensor, labels: Sequence[str]) -> Tensor:
    """Which images a goal is about: (N,) bool. Missed findings concern images that show disease, and so on."""
    kind, _, which = name.partition(":")
    if kind == "target":
        return y != _index(which, labels)
    if kind == "missed-finding":
        return y != normal_class(labels) if y.dim() == 1 else y.any(1)
    if kind == "false-alarm":
        return y == normal_class(labels) if y.dim() == 1 else ~y.any(1)
    return torch.ones(len(y), dtype=torch.bool, device=y.device)


def goal(name: str, y: Tensor, labels: Sequence[str], head: Head) -> Goal:
    """The goal called `name` for images whose truth is y; give it only images in its `scope`.

    Raises UnknownName for a name that is none of GOALS, BadPlan where head and goal do not go together.
    """
    kind, _, which = name.partition(":")
    if head == "sigmoid":
        return _multi_label_goal(kind, which, y, labels)
    makers: dict[str, Callable[[], Goal]] = {
        "misclassify": lambda: Misclassify(y),
        "target": lambda: Towards(y, torch.full_like(y, _index(which, labels))),
        "missed-finding": lambda: Towards(y, torch.full_like(y, normal_class(labels))),
        "false-alarm": lambda: Misclassify(y),
    }
    if kind == "flip":
        raise BadPlan(f"goal {name!r} needs a sigmoid (multi-label) head; this model's head is softmax")
    if kind not in makers:
        raise UnknownName(f"no goal named {name!r}{nearest(kind, [*makers, 'flip'])}")
    return makers[kind]()


def _multi_label_goal(kind: str, which: str, y: Tensor, labels: Sequence[str]) -> Goal:
    if kind == "missed-finding":
        return MissAll(y)
    if kind in ("misclassify", "false-alarm"):
        return AnyFinding(y)
    if kind == "flip":
        return Flip(y, _index(which, labels))
    if kind == "target":
        raise BadPlan("goal target:CLASS needs a softmax head; for a multi-label model use flip:FINDING")
    raise UnknownName(f"no goal named {kind!r}{nearest(kind, [goal.partition(':')[0] for goal in GOALS])}")


def _index(label: str, labels: Sequence[str]) -> int:
    if label not in labels:
        raise UnknownName(f"no class named {label!r}{nearest(label, labels)}")
    return list(labels).index(label)
