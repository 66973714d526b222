# SPDX-License-Identifier: Apache-2.0
"""A judge and the model it was taught with: what scores images."""

from collections.abc import Callable, Mapping, Sequence
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
        return score_all({"": self}, x)[""]

    def suspicion(self, x: Tensor) -> Tensor:
        """(N,) nearly the score, with a gradient with respect to x: for a detector-aware attacker."""
        if not len(x):
            return x.new_zeros(0, dtype=torch.float64)
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


def taught_on(model: Classifier, clean: Tensor, changed: Mapping[str, Tensor] | None = None) -> list[Look]:
    """What learners learn from: clean images (N ≥ 20, C, H, W) in [0, 1], and others after harmless changes, by name.

    Several learners may share the looks, and then the model sees every image once. Raises BadInput for fewer clean
    images, or any that cannot be scored.
    """
    require_enough(clean)
    pieces = looks(model, clean.detach())
    for change, images in (changed or {}).items():
        require_detectable(images)
        pieces += looks(model, images.detach(), change)
    return pieces


def learn(learner: Learner, pieces: Sequence[Look]) -> Fitted:
    """Teach a detector what is usual among these."""
    with torch.no_grad():
        return Fitted(pieces[0].model, learner.learn(pieces))


def fit(learner: Learner, model: Classifier, clean: Tensor, changed: Mapping[str, Tensor] | None = None) -> Fitted:
    """Teach one detector; see `taught_on`."""
    return learn(learner, taught_on(model, clean, changed))


def score_all(detectors: Mapping[str, Fitted], x: Tensor) -> dict[str, Tensor]:
    """By detector, (N,) float64 on the CPU; detectors of one model share every pass. Raises BadInput."""
    return _all(detectors, x, lambda judge, look: judge(look))


def measure_all(detectors: Mapping[str, Fitted], x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """By detector, scores (N,) and measurements (N, F), float64 on the CPU, from the same passes. Raises BadInput."""

    def both(judge: Judge, look: Look) -> Tensor:
        return torch.stack([judge(look), *judge.measures(look).values()], dim=1)

    found = _all(detectors, x, both)
    return {name: one[:, 0] for name, one in found.items()}, {name: one[:, 1:] for name, one in found.items()}


def _all(detectors: Mapping[str, Fitted], x: Tensor, ask: Callable[[Judge, Look], Tensor]) -> dict[str, Tensor]:
    require_detectable(x)
    found: dict[str, list[Tensor]] = {name: [] for name in detectors}
    with torch.no_grad():
        for model in {id(one.model): one.model for one in detectors.values()}.values():
            for piece in looks(model, x.detach()):
                for name, one in detectors.items():
                    if one.model is model:
                        found[name].append(ask(one.judge, piece).double().cpu())
    return {name: torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64) for name, parts in found.items()}


def restore(learner: Learner, model: Classifier, state: Mapping[str, Tensor]) -> Fitted:
    """Read back what `state` gave; the model must be the one it was fitted with. Raises BadInput."""
    return Fitted(model, learner.restore(state))
