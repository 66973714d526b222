# SPDX-License-Identifier: Apache-2.0
"""The few nouns everything else is made of. Images are float tensors (N, C, H, W) in [0, 1], C is 1 or 3."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from torch import Generator, Tensor

Head = Literal["softmax", "sigmoid"]
"""softmax: one class per image, integer targets (N,). sigmoid: findings side by side, targets (N, K) in {0, 1}."""

Backward = Literal["none", "identity", "twin"]
"""What takes a defence's place in a backward pass: nothing (no gradient), the identity (BPDA), its twin."""


class Classifier(Protocol):
    """Pixels in, logits (N, K) out; normalisation, resizing and channel count live inside."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def head(self) -> Head: ...
    @property
    def micro_batch(self) -> int:
        """Images per pass that fit in memory; larger batches are cut into such pieces."""
        ...

    def __call__(self, x: Tensor, /) -> Tensor: ...


class Goal(Protocol):
    """What the attacker wants: one object says both what to climb and when it is reached."""

    @property
    def y(self) -> Tensor:
        """The truth: (N,) int64 for softmax heads, (N, K) float for sigmoid heads."""
        ...

    def loss(self, logits: Tensor) -> Tensor: ...  # (N,), higher is better for the attacker
    def margin(self, logits: Tensor) -> Tensor: ...  # (N,), in logits; above 0 where the goal is reached
    def reached(self, logits: Tensor) -> Tensor: ...  # (N,) bool
    def ways(self, logits: Tensor, most: int) -> "Sequence[Goal]":
        """Narrower goals, each enough to reach this one, the easiest for every image first; at most `most`."""
        ...

    def __getitem__(self, rows: Tensor) -> Self: ...  # the same goal for some of the images


class Attack(Protocol):
    """Returns perturbed images of the same shape, in [0, 1] and inside the attack's threat model."""

    def __call__(self, model: Classifier, x: Tensor, goal: Goal, *, rng: Generator) -> Tensor: ...


class Defense(Protocol):
    """Cleans images before the model sees them."""

    @property
    def deterministic(self) -> bool: ...
    @property
    def differentiable(self) -> bool:
        """Whether the real defence itself has a useful gradient: its twin then gives the very same images."""
        ...

    @property
    def ways(self) -> tuple[Backward, ...]:
        """The backward passes that an adaptive attacker should try: of "identity" and "twin", in this order."""
        ...

    @property
    def votes(self) -> int:
        """Draws whose logits are averaged when it answers; 1 where it is deterministic."""
        ...

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor: ...
    def surrogate(self, x: Tensor, *, rng: Generator) -> Tensor:
        """A differentiable twin: nearly the same images, with a gradient (for BPDA)."""
        ...


class FittedDetector(Protocol):
    """Scores images in hand, without their originals; higher is more suspicious."""

    def score(self, x: Tensor) -> Tensor: ...  # (N,) float64
    def suspicion(self, x: Tensor) -> Tensor: ...  # (N,) nearly the score, with a gradient with respect to x


@dataclass(frozen=True)
class Watch:
    """A detector on duty, as an attacker who knows it sees it: undetected is what scores at or under the threshold."""

    suspicion: Callable[[Tensor], Tensor]  # (N, C, H, W) -> (N,), with a gradient
    threshold: float
    spread: float  # of clean images' scores: what a unit of suspicion is measured in
