# SPDX-License-Identifier: Apache-2.0
"""A detector on duty: what it learnt, the thresholds that keep its promise, and how clean images score."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from radproof.core.records import Record
from radproof.core.types import Watch
from radproof.detectors.calibrate import Thresholds
from radproof.detectors.fitted import Fitted
from radproof.detectors.look import Look
from radproof.detectors.screening import Reading, finite

KEPT = 2000  # clean scores that are remembered
_LEAST = 1e-6
_TAILS = (0.16, 0.84)  # a standard deviation to either side, of a normal distribution


class Choice(Record):
    """A detector by name, with its parameters."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Sentry:
    """A fitted detector that can tell a score's place."""

    choice: Choice
    fitted: Fitted
    thresholds: Thresholds
    clean: Tensor  # (≤ 2000,) float32, sorted: scores of clean calibration images

    def read(self, look: Look, groups: Sequence[str]) -> list[Reading]:
        """Each image's score against the threshold of its group. Raises BadModel for a score that is no number."""
        return [self.place(*pair) for pair in zip(finite(self.fitted.judge(look)), groups, strict=True)]

    def place(self, score: float, group: str = "") -> Reading:
        """A score against the threshold of its group, and among clean ones."""
        n = len(self.clean)
        higher = n - int(torch.searchsorted(self.clean, torch.tensor(score, dtype=torch.float32)))
        threshold, tail = self.thresholds.of(group), (1 + higher) / (1 + n)
        return Reading(detector=self.choice.name, score=score, threshold=threshold, tail=tail, clean=n)

    def measures(self, look: Look) -> list[dict[str, float]]:
        """By what was measured, how many spreads each image lies from the usual."""
        found = {name: values.double().cpu().tolist() for name, values in self.fitted.judge.measures(look).items()}
        return [{name: values[row] for name, values in found.items()} for row in range(len(look))]

    def watch(self, group: str = "") -> Watch | None:
        """As a detector-aware attacker sees it; None where there is no threshold to stay under."""
        value = self.thresholds.of(group).value
        return None if value is None else Watch(self.fitted.suspicion, value, self.spread)

    @property
    def spread(self) -> float:
        """Of clean scores: half of what lies between the 16th and the 84th of a hundred; never 0."""
        if not len(self.clean):
            return 1.0
        low, high = self.clean.double().quantile(torch.tensor(_TAILS, dtype=torch.float64)).tolist()
        return max((high - low) / 2, _LEAST)


def thinned(scores: Tensor) -> Tensor:
    """At most 2000 of scores (N,), sorted, evenly over their ranks with both ends: float32."""
    ordered = scores.float().sort().values
    if len(ordered) <= KEPT:
        return ordered
    return ordered[torch.linspace(0, len(ordered) - 1, KEPT, dtype=torch.float64).round().long()]
