# SPDX-License-Identifier: Apache-2.0
"""What detectors share: which images they take, how they ask the model, how they read a stored state."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from radproof.core.types import Classifier, Head
from radproof.defenses.checks import require_images
from radproof.errors import BadInput

SMALLEST_SIDE = 16  # pixels; below, there is no statistic of a neighbourhood
FEWEST_IMAGES = 20  # to fit on; below, "usual" means nothing


def require_detectable(x: Tensor) -> None:
    """Raise BadInput unless x is (N, C, H, W) in [0, 1], finite, C 1 or 3, sides of 16 pixels or more."""
    require_images(x, smallest=SMALLEST_SIDE)


def require_enough(clean: Tensor) -> None:
    """Raise BadInput for images that cannot be scored, or too few of them to learn from."""
    require_detectable(clean)
    if len(clean) < FEWEST_IMAGES:
        raise BadInput(f"a detector learns from at least {FEWEST_IMAGES} clean images, got {len(clean)}; give it more")


def logits_of(model: Classifier, x: Tensor) -> Tensor:
    """(N, K) float64 on the CPU, in pieces of the model's micro-batch, without gradients."""
    with torch.no_grad():
        parts = [model(part).float().cpu().double() for part in x.split(max(1, model.micro_batch))]
    return torch.cat(parts) if parts else torch.zeros(0, len(model.labels), dtype=torch.float64)


def probabilities_of(logits: Tensor, head: Head) -> Tensor:
    """(N, K): softmax over classes, or a sigmoid per finding."""
    return logits.softmax(1) if head == "softmax" else logits.sigmoid()


def answers_of(logits: Tensor, head: Head) -> Tensor:
    """(N, 1) the class, or (N, K) which findings: equal rows mean equal answers."""
    return logits.argmax(1, keepdim=True) if head == "softmax" else logits > 0


def take(state: Mapping[str, Tensor], names: Sequence[str]) -> list[Tensor]:
    """The tensors of a stored state by name, float64; raises BadInput unless exactly these are there."""
    if set(state) != set(names):
        raise BadInput(
            f"the stored state holds {', '.join(sorted(state)) or 'nothing'}, expected {', '.join(sorted(names))}; "
            "it was written by another detector, fit this one again"
        )
    return [state[name].double() for name in names]
