# SPDX-License-Identifier: Apache-2.0
"""What training minimises: losses per image, which no other image of the batch takes part in."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radproof.core.types import Head


@dataclass(frozen=True)
class CrossEntropy:
    """Weighted cross-entropy, or binary cross-entropy averaged over findings; per image, never NaN-normalised.

    Weights multiply each image's loss and are not divided out again per batch, so that an image weighs the same
    whichever others share its batch. Logits are divided by the temperature first.
    """

    head: Head
    weights: Tensor | None  # (K,) of classes, or of positive findings
    temperature: float = 1.0

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (N, K) and targets -> (N,)."""
        logits = logits if self.temperature == 1 else logits / self.temperature
        weights = None if self.weights is None else self.weights.to(logits)
        if self.head == "softmax":
            return F.cross_entropy(logits, targets, weight=weights, reduction="none")
        return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="none").mean(1)

    def soft(self, logits: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
        """The same against a teacher's logits (N, K), softened alike -> (N,) (Papernot et al. 2016).

        With classes, the whole loss of an image is multiplied by the weight of its true one.
        """
        logits, teacher = logits / self.temperature, teacher / self.temperature
        if self.head == "softmax":
            loss = F.cross_entropy(logits, teacher.softmax(1), reduction="none")
            return loss * self.of(targets)
        weights = None if self.weights is None else self.weights.to(logits)
        return F.binary_cross_entropy_with_logits(logits, teacher.sigmoid(), pos_weight=weights, reduction="none").mean(
            1
        )

    def of(self, targets: Tensor) -> Tensor | float:
        """What else an image's loss holds is multiplied with: (N,) the weights of its class; 1 beside findings."""
        return 1.0 if self.weights is None or self.head == "sigmoid" else self.weights.to(targets.device)[targets]


def divergence(clean: Tensor, attacked: Tensor, head: Head) -> Tensor:
    """KL(p(x) || p(x_adv)) of logits (N, K) -> (N,); for sigmoid heads the mean over findings of Bernoulli KL."""
    if head == "softmax":
        p, q = clean.log_softmax(1), attacked.log_softmax(1)
        return (p.exp() * (p - q)).sum(1)
    yes = clean.sigmoid() * (F.logsigmoid(clean) - F.logsigmoid(attacked))
    no = (-clean).sigmoid() * (F.logsigmoid(-clean) - F.logsigmoid(-attacked))
    return (yes + no).mean(1)


def trades(objective: CrossEntropy, clean: Tensor, attacked: Tensor, targets: Tensor, beta: float) -> Tensor:
    """Cross-entropy of clean images + beta x divergence -> (N,) (Zhang et al., ICML 2019, arXiv:1901.08573)."""
    bent = divergence(clean, attacked, objective.head)
    return objective(clean, targets) + beta * bent * objective.of(targets)


def mart(objective: CrossEntropy, clean: Tensor, attacked: Tensor, targets: Tensor, beta: float) -> Tensor:
    """Boosted cross-entropy of attacked images + beta x divergence x (1 - p_y(x)) -> (N,); softmax heads.

    Wang et al., "Improving Adversarial Robustness Requires Revisiting Misclassified Examples", ICLR 2020. The small
    constants keep the logarithms finite.
    """
    p, q = clean.softmax(1), attacked.softmax(1)
    truth = targets.unsqueeze(1)
    rival = q.scatter(1, truth, -torch.inf).amax(1)
    boosted = F.cross_entropy(attacked, targets, reduction="none") - (1.0001 - rival).log()
    unsure = 1.0000001 - p.gather(1, truth).squeeze(1)
    return (boosted + beta * divergence(clean, attacked, "softmax") * unsure) * objective.of(targets)


def hidden_penalty(top: nn.Module, l2: float) -> Tensor | float:
    """l2 x the squared norm of the hidden layer's weights (not its biases); 0 for a linear head."""
    hidden = dict(top.named_children()).get("hidden")
    return l2 * hidden.weight.square().sum() if isinstance(hidden, nn.Linear) and l2 else 0.0
