# SPDX-License-Identifier: Apache-2.0
"""Which layers fine-tuning changes. A frozen layer keeps its weights and, for batch normalisation, its statistics."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from radproof.models.classifier import ImageClassifier


@dataclass(frozen=True)
class Layers:
    """A classifier's backbone, cut into layers that stay and layers that learn."""

    model: ImageClassifier
    frozen: tuple[nn.Module, ...]
    learning: tuple[nn.Module, ...]

    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser changes: the learning layers' own parameters, then the head's."""
        own = [p for layer in self.learning for p in layer.parameters(recurse=False)]
        return [*own, *self.model.top.parameters()]

    def keep_up(self, steps: int) -> None:
        """Let batch statistics forget 95 % within an epoch of `steps`, or sooner where they do already.

        On a small fold the usual momentum (0.1, in some networks 0.01) spans many epochs: validation would judge
        today's weights with the statistics of weights long gone, and early stopping would believe it.
        """
        for layer in self.learning:
            if isinstance(layer, nn.BatchNorm2d) and layer.momentum is not None:
                layer.momentum = max(layer.momentum, 1 - 0.05 ** (1 / steps))

    def train(self) -> None:
        """Training mode for the head and the learning layers; frozen ones stay as in use."""
        self.model.train(bool(self.learning))
        self.model.top.train()
        for layer in self.frozen:
            # Not layer.eval(), which would also reach children that may be learning.
            layer.training = False


def unfreeze(model: ImageClassifier, last: int | Literal["all"]) -> Layers:
    """Let the last layers of the backbone that hold weights learn (0: none), and the head; freeze the others."""
    holding = [m for m in model.backbone.modules() if next(m.parameters(recurse=False), None) is not None]
    first = 0 if last == "all" else max(len(holding) - last, 0)
    layers = Layers(model, tuple(holding[:first]), tuple(holding[first:]))
    model.requires_grad_(False)
    for parameter in layers.parameters():
        parameter.requires_grad_(True)
    return layers
