# SPDX-License-Identifier: Apache-2.0
"""One epoch, the same for the head alone and for fine-tuning: what differs between the two is a Stage."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from radproof.core.rng import generator, seed_for
from radproof.errors import BadInput
from radproof.measure.classification import answers
from radproof.training.arithmetic import repeatable
from radproof.training.augment import draw
from radproof.training.balance import batches, order
from radproof.training.history import Epoch, score
from radproof.training.lessons import Batch, Lesson
from radproof.training.recipe import TrainingRecipe
from radproof.training.robust import Robust
from radproof.training.task import Task


@dataclass(frozen=True)
class Stage:
    """A part of the network that learns, and how it is asked."""

    name: Literal["head", "fine-tuning"]
    lesson: Callable[[Batch], Lesson]  # answers and losses, with a gradient
    validate: Callable[[], Tensor]  # logits of the validation fold
    penalty: Callable[[], Tensor | float]
    train_mode: Callable[[], None]
    optimiser: torch.optim.Optimizer
    rate: Callable[[Sequence[float], int, int], float]  # validation losses so far, steps made, steps an epoch -> rate
    robust: Callable[[], Robust] | None = None  # the answers under attack; of adversarial training


def make_optimiser(recipe: TrainingRecipe, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam or AdamW; the rate is set before each step."""
    kind = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
    return kind(parameters, weight_decay=recipe.weight_decay, fused=True)


def one_epoch(task: Task, stage: Stage, number: int, losses: Sequence[float]) -> Epoch:
    """Train once over the training fold, then ask the validation fold. `losses` are the validation losses before.

    Everything random comes from the recipe's seed and the number of the epoch. Raises BadInput if the loss is no
    number any more.
    """
    recipe, device = task.recipe, task.arithmetic.device
    chance = (recipe.seed, stage.name, number)
    rows = order(task.train.targets, task.head, sampling=recipe.balance == "sampling", rng=generator(*chance, "order"))
    draws = draw(len(rows), generator(*chance, "augmentation"))
    lost: list[Tensor] = []
    said: list[Tensor] = []
    parts = batches(torch.arange(len(rows)), recipe.batch)
    rate = 0.0
    with repeatable(seed_for(*chance, "dropout"), device):
        stage.train_mode()
        for step, part in enumerate(parts):
            rate = stage.rate(losses, (number - 1) * len(parts) + step, len(parts))
            lesson = stage.lesson(Batch(rows[part], draws[part], number, step))
            _learn(stage, lesson.losses.mean() + stage.penalty(), rate)
            lost.append(lesson.losses.detach())
            said.append(lesson.logits.detach())
            task.progress.advance("training" if stage.name == "fine-tuning" else "head", len(part))
        validation = stage.validate()
        attacked = stage.robust() if stage.robust else None
    return _epoch(task, stage, number, rate, torch.cat(lost), torch.cat(said), rows, validation, attacked)


def _learn(stage: Stage, loss: Tensor, rate: float) -> None:
    for group in stage.optimiser.param_groups:
        group["lr"] = rate
    stage.optimiser.zero_grad()
    loss.backward()
    stage.optimiser.step()


def _epoch(
    task: Task,
    stage: Stage,
    number: int,
    rate: float,
    lost: Tensor,
    said: Tensor,
    rows: Tensor,
    validation: Tensor,
    attacked: Robust | None,
) -> Epoch:
    train_loss = lost.double().mean().item()
    judged = task.judge(validation, task.validation.targets.to(validation.device)).double().mean().item()
    if not all(map(math.isfinite, (train_loss, judged, attacked.loss if attacked else 0.0))):
        raise BadInput(
            f"the training diverged: in epoch {number} ({stage.name}) the loss is no number any more; lower the "
            f"learning rate (now {rate:g}) or choose precision fp32"
        )
    targets = task.train.targets[rows].numpy()
    right = answers(said.cpu().numpy(), task.head) == (targets if task.head == "softmax" else targets > 0.5)
    scored = score(validation, task.validation.targets, task.head)
    return Epoch(
        stage=stage.name,
        epoch=number,
        lr=rate,
        train_loss=train_loss,
        train_accuracy=float(right.mean()),
        validation_loss=judged,
        validation_accuracy=scored.accuracy,
        validation_auroc=scored.auroc,
        budget=task.adversary.recipe.budget(number) if task.adversary and attacked else None,
        validation_robust_loss=attacked.loss if attacked else None,
        validation_robust_accuracy=attacked.accuracy if attacked else None,
        train_robust_accuracy=attacked.held if attacked else None,
    )
