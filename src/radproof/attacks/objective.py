# SPDX-License-Identifier: Apache-2.0
"""What an attacker climbs: the goal's loss, seen through the model. The one place where its gradient is taken."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from radproof.core.types import Classifier, Goal
from radproof.errors import BadInput, NoGradient


@dataclass(frozen=True)
class Objective:
    """Losses and gradients of a goal for N images, in pieces of the model's micro-batch.

    Stacks of k views are copy-major, (k*N, C, H, W): row r shows image r modulo N. Losses are summed and never
    averaged, so an image's gradient does not depend on its neighbours in the batch.
    """

    model: Classifier
    goal: Goal

    @property
    def images(self) -> int:
        """N, the images that the goal is about."""
        return len(self.goal.y)

    def __getitem__(self, rows: Tensor) -> Self:
        """The same for some of the images; rows are indices or a mask."""
        return type(self)(self.model, self.goal[rows])

    def of(self, views: slice) -> Self:
        """The same for consecutive rows of a stack of views, each row with its image's goal."""
        if (views.start, views.stop) == (0, self.images):
            return self
        return self[torch.arange(views.start, views.stop, device=self.goal.y.device) % self.images]

    def gradient(self, z: Tensor) -> Tensor:
        """d(sum of losses)/dz, shaped like z; a row with NaN or infinity in it becomes zero.

        Zero leaves an image as it is; NaN would poison every later step. Raises NoGradient (a BadModel)
        where the model's answer has none.
        """
        return _sound([self._differentiate(piece, [self.goal[rows].loss])[2][0] for piece, rows in self._pieces(z)])

    def climb(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss (k*N,), whether the goal is reached (k*N,) and the gradient, shaped like z: all of one pass.

        A pass with a gradient may run in low precision, so a goal that it calls reached is a claim: see `confirm`.
        """
        losses: list[Tensor] = []
        reached: list[Tensor] = []
        grads: list[Tensor] = []
        for piece, rows in self._pieces(z):
            goal = self.goal[rows]
            logits, (loss,), (grad,) = self._differentiate(piece, [goal.loss])
            losses.append(_ordered(loss))
            reached.append(goal.reached(logits))
            grads.append(grad)
        return torch.cat(losses), torch.cat(reached), _sound(grads)

    def slopes(self, z: Tensor, ways: Sequence[Goal]) -> tuple[Tensor, Tensor, Tensor]:
        """Margins (W, N) of W ways, their gradients (W, N, C, H, W') and the claim that the goal is reached (N,).

        One forward pass, and a backward pass for every way.
        """
        margins: list[Tensor] = []
        reached: list[Tensor] = []
        grads: list[Tensor] = []
        for piece, rows in self._pieces(z):
            logits, values, slopes = self._differentiate(piece, [way[rows].margin for way in ways])
            margins.append(torch.stack(values))
            reached.append(self.goal[rows].reached(logits))
            grads.append(torch.stack(slopes))
        slope = torch.cat(grads, 1)
        return torch.cat(margins, 1), _sound([slope.flatten(0, 1)]).view_as(slope), torch.cat(reached)

    def confirm(self, z: Tensor, claimed: Tensor) -> Tensor:
        """Which claims (k*N,) hold without a gradient; asked anew only where passes with one are not exact."""
        if getattr(self.model, "precision", "fp32") == "fp32" or not claimed.any():
            return claimed
        rows, held = claimed.nonzero().flatten(), claimed.clone()
        held[rows] = self[rows % self.images].judge(z[rows])[1]
        return held

    def logits(self, z: Tensor) -> Tensor:
        """The model's answers (k*N, K) in float64, without gradient."""
        with torch.no_grad():
            return torch.cat([_precise(self.model(piece)) for piece, _ in self._pieces(z)])

    def judge(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (k*N,) and whether the goal is reached (k*N,), without gradient; a NaN loss counts as -infinity."""
        losses: list[Tensor] = []
        reached: list[Tensor] = []
        with torch.no_grad():
            for piece, rows in self._pieces(z):
                logits, goal = _precise(self.model(piece)), self.goal[rows]
                losses.append(_ordered(goal.loss(logits)))
                reached.append(goal.reached(logits))
        return torch.cat(losses), torch.cat(reached)

    def loss(self, z: Tensor) -> Tensor:
        """Per-image losses (k*N,), without gradient."""
        return self.judge(z)[0]

    def _pieces(self, z: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        if not self.images or not len(z) or len(z) % self.images:
            raise BadInput(f"{len(z)} views were given for a goal of {self.images} images; expected a multiple of it")
        size = max(1, self.model.micro_batch)
        for start in range(0, len(z), size):
            piece = z[start : start + size]
            yield piece, torch.arange(start, start + len(piece), device=self.goal.y.device) % self.images

    def _differentiate(
        self, piece: Tensor, losses: Sequence[Callable[[Tensor], Tensor]]
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Logits, and for every loss of them its values and their gradient, from one forward pass."""
        leaf = piece.detach().requires_grad_()
        with torch.enable_grad():
            logits = _precise(self.model(leaf))
            values = [loss(logits) for loss in losses]
        grads = [_gradient(value, leaf, keep=value is not values[-1]) for value in values]
        return logits.detach(), [value.detach() for value in values], grads


def _gradient(values: Tensor, leaf: Tensor, *, keep: bool) -> Tensor:
    with torch.enable_grad():
        total = values.sum()
    if not total.requires_grad:
        raise _no_gradient()
    (grad,) = torch.autograd.grad(total, leaf, allow_unused=True, retain_graph=keep)
    if grad is None:  # pyright: ignore[reportUnnecessaryComparison] - allow_unused returns None
        raise _no_gradient()
    return grad


def _sound(pieces: list[Tensor]) -> Tensor:
    """Together, with rows that hold NaN or infinity set to zero."""
    grad = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
    sound = grad.isfinite().flatten(1).all(1).view(-1, 1, 1, 1)
    return torch.where(sound, grad, torch.zeros_like(grad))


def _ordered(loss: Tensor) -> Tensor:
    """A loss that can be compared: NaN is the worst."""
    return loss.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)


def _precise(logits: Tensor) -> Tensor:
    """Logits in float64: in float32 the cross-entropy of a confident answer is a flat zero past a margin of 17."""
    return logits.float() if logits.device.type == "mps" else logits.double()


def _no_gradient() -> NoGradient:
    return NoGradient(
        "the model's answer has no gradient with respect to its input, which this attack climbs; use an attack that "
        "only asks ('square' and 'one_pixel' need scores, 'hopskipjump' labels alone), or make the images on a "
        "differentiable surrogate model"
    )
