# SPDX-License-Identifier: Apache-2.0
"""What one batch teaches: the images as they are shown, the network's answers, and what these cost."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from radproof.core.rng import generator, normal_like
from radproof.training.inner import Adversary
from radproof.training.objectives import mart, trades
from radproof.training.task import Task

Answer = Callable[[Tensor], Tensor]  # images (N, C, S, S) -> logits (N, K), with a gradient


@dataclass(frozen=True)
class Batch:
    """Rows of the training fold, their draws of augmentation, and which batch of the training this is."""

    rows: Tensor
    draws: Tensor
    epoch: int  # from 1, in its stage
    step: int


@dataclass(frozen=True)
class Lesson:
    """Logits (N, K) of the images as shown, and a loss for each (N,)."""

    logits: Tensor
    losses: Tensor


def teach(task: Task, answer: Answer, x: Tensor, y: Tensor, batch: Batch) -> Lesson:
    """A lesson of fine-tuning on augmented images x, as the recipe has it; y are their targets."""
    recipe = task.recipe
    chance = (recipe.seed, "fine-tuning", batch.epoch)
    if task.adversary is not None:
        rng = generator(*chance, "attack", batch.step, device=x.device)
        return _attacked(task, task.adversary, answer, x, y, batch.epoch, rng)
    if recipe.noise:
        x = x + normal_like(x, recipe.noise, generator(*chance, "noise", batch.step, device=x.device))
    soft = None if task.teacher is None else task.soft_answers(x)
    logits = answer(x)
    return Lesson(logits, losses_of(task, logits, y, soft))


def losses_of(task: Task, logits: Tensor, y: Tensor, soft: Tensor | None) -> Tensor:
    """(N,): against the labels, or against a teacher's logits where there is a teacher."""
    return task.objective(logits, y) if soft is None else task.objective.soft(logits, soft, y)


def _attacked(
    task: Task, adversary: Adversary, answer: Answer, x: Tensor, y: Tensor, epoch: int, rng: torch.Generator
) -> Lesson:
    recipe = adversary.recipe
    eps = recipe.budget(epoch)
    if recipe.method in ("pgd", "fast"):
        clean = round(recipe.clean_share * len(x))
        shown = torch.cat([x[:clean], adversary(x[clean:], y[clean:], eps, rng)]) if clean < len(x) else x
        logits = answer(shown)
        return Lesson(logits, task.objective(logits, y))
    shown = adversary(x, y, eps, rng)
    # Clean and attacked images pass one after the other, each with its own batch statistics, as in both papers' code.
    plain, logits = answer(x), answer(shown)
    loss = trades if recipe.method == "trades" else mart
    return Lesson(logits, loss(task.objective, plain, logits, y, recipe.beta))
