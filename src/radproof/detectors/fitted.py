# SPDX-License-Identifier: Apache-2.0
"""A judge and the model it was taught with: what scores images."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from radproof.core.types import Classifier
from radproof.detectors.common import require_detectable, require_enough
from radproof.detectors.look import Look, looks
from radproof.detectors.registry import Judge, Learner


@dataclass(frozen=True)
class Fitted:
    """Scores images in hand, without their originals. Implements core.types.FittedDetector."""

    model: Classifier
    judge: Judge

    def score(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,) float64 on the CPU; higher is more suspicious. Raises BadInput."""
        require_detectable(x)
        with torch.no_grad():
            found = [self.judge(piece).double().cpu() for piece in looks(self.model, x.detach())]
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)

    def suspicion(self, x: Tensor) -> Tensor:
        """(N,) nearly the score, with a gradient with respect to x: for a detector-aware attacker."""
        parts = x.split(max(1, self.model.micro_batch))
        return torch.cat([self.judge(Look(self.model, part, soft=True)) for part in parts])

    def measures(self, x: Tensor) -> dict[str, Tensor]:
        """By what was measured, (N,) float64: how many clean spreads above the usual; the score's reasons."""
        require_detectable(x)
        with torch.no_grad():
            found = [self.judge.measures(piece) for piece in looks(self.model, x.detach())]
        return {name: torch.cat([part[name].double().cpu() for part in found]) for name in found[0]} if found else {}

    def state(self) -> dict[str, Tensor]:
        """All that was learnt."""
        return self.judge.state()


def fit(learner: Learner, model: Classifier, clean: Tensor) -> Fitted:
    """Teach a detector what is usual: clean images (N ≥ 20, C, H, W) in [0, 1]. Raises BadInput for fewer."""
    require_enough(clean)
    with torch.no_grad():
        return Fitted(model, learner.learn(looks(model, clean.detach())))


def restore(learner: Learner, model: Classifier, state: Mapping[str, Tensor]) -> Fitted:
    """Read back what `state` gave; the model must be the one it was fitted with. Raises BadInput."""
    return Fitted(model, learner.restore(state))
