# SPDX-License-Identifier: Apache-2.0
"""Does the answer hold when one looks a little differently? An honest image's does, a small perturbation's often not.

Feature squeezing (Xu et al., NDSS 2018) asks for the largest L1 change of the probabilities. Saturated probabilities
hide changes, so logits are compared too and flipped answers counted; and since squeezers differ in what they do to
clean images, each change is measured against the clean images' own median and spread before they are combined.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from radproof.core.types import Classifier
from radproof.detectors.common import (
    answers_of,
    logits_of,
    probabilities_of,
    require_detectable,
    require_enough,
    take,
)
from radproof.detectors.registry import Restorable, detector
from radproof.detectors.squeezers import squeezers
from radproof.errors import BadInput

_TINY = 1e-3  # of a change in probability or logit: what is below is no change
_SPREAD = 0.05  # the least spread that a column is divided by
_TOP = 3  # the score is the mean of the three most unusual changes
_MAD = 1.4826  # median absolute deviation to standard deviation


@dataclass(frozen=True)
class FittedConsistency:
    """Knows how much clean images' answers change under each squeezer."""

    model: Classifier
    centre: Tensor  # (2S + 1,)
    spread: Tensor  # (2S + 1,)

    def score(self, x: Tensor) -> Tensor:
        """(N,) float64: how unusually the answers to x change. Raises BadInput for what is no image."""
        require_detectable(x)
        unusual = (_changes(self.model, x) - self.centre) / self.spread
        return unusual.topk(_TOP, dim=1).values.mean(1)

    def state(self) -> dict[str, Tensor]:
        """Centre and spread of each change."""
        return {"centre": self.centre, "spread": self.spread}


@dataclass(frozen=True)
class Consistency:
    """Seven passes through the model per image, no training."""

    def fit(self, model: Classifier, clean: Tensor) -> FittedConsistency:
        """Learn the usual changes from clean images (N ≥ 20, C, H, W)."""
        require_enough(clean)
        changes = _changes(model, clean)
        centre = changes.median(0).values
        spread = _MAD * (changes - centre).abs().median(0).values
        return FittedConsistency(model, centre, spread.clamp_min(_SPREAD))

    def restore(self, model: Classifier, state: Mapping[str, Tensor]) -> FittedConsistency:
        """Read back what `state` gave; the model must be the one it was fitted with."""
        centre, spread = take(state, ("centre", "spread"))
        columns = 2 * len(squeezers()) + 1
        if centre.shape != (columns,) or spread.shape != (columns,):
            raise BadInput(f"a consistency detector stores {columns} numbers twice, got {len(centre)}; refit it")
        return FittedConsistency(model, centre, spread)


def _changes(model: Classifier, x: Tensor) -> Tensor:
    """(N, 2S + 1): log L1 changes of probabilities and of logits under each squeezer, and the share that flipped."""
    before = logits_of(model, x)
    p, answer = probabilities_of(before, model.head), answers_of(before, model.head)
    columns: list[Tensor] = []
    flips = torch.zeros(len(x), dtype=torch.float64)
    ways = squeezers()
    for squeeze in ways.values():
        after = torch.cat([logits_of(model, squeeze(part)) for part in x.split(max(1, model.micro_batch))])
        columns.append((probabilities_of(after, model.head) - p).abs().sum(1))
        columns.append((after - before).abs().sum(1))
        flips += (answers_of(after, model.head) != answer).any(1) / len(ways)
    return torch.cat([(torch.stack(columns, dim=1) + _TINY).log(), flips[:, None]], dim=1)


@detector(title="Consistency under squeezing", paper="Xu, Evans & Qi, NDSS 2018")
def consistency() -> Restorable:
    """How much the model's answer changes under six harmless views of the image, against clean images' own changes."""
    return Consistency()
