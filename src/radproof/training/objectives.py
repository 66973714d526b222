# SPDX-License-Identifier: Apache-2.0
"""What training minimises."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from radproof.core.types import Head


@dataclass(frozen=True)
class CrossEntropy:
    """Weighted cross-entropy, or binary cross-entropy averaged over findings; per image, never NaN-normalised.

    Weights multiply each image's loss and are not divided out again per batch, so that an image weighs the same
    whichever others share its batch.
    """

    head: Head
    weights: Tensor | None  # (K,) of classes, or of positive findings

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (N, K) and targets -> (N,)."""
        weights = None if self.weights is None else self.weights.to(logits)
        if self.head == "softmax":
            return F.cross_entropy(logits, targets, weight=weights, reduction="none")
        return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="none").mean(1)


def hidden_penalty(top: nn.Module, l2: float) -> Tensor | float:
    """l2 x the squared norm of the hidden layer's weights (not its biases); 0 for a linear head."""
    hidden = dict(top.named_children()).get("hidden")
    return l2 * hidden.weight.square().sum() if isinstance(hidden, nn.Linear) and l2 else 0.0
