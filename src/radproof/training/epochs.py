# SPDX-License-Identifier: Apache-2.0
"""One epoch, the same for the head alone and for fine-tuning: what differs between the two is a Stage."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from radproof.core.progress import Progress
from radproof.core.rng import generator, seed_for
from radproof.core.types import Head
from radproof.errors import BadInput
from radproof.measure.classification import answers
from radproof.training.arithmetic import Arithmetic, repeatable
from radproof.training.augment import draw
from radproof.training.balance import batches, class_weights, order
from radproof.training.folds import Fold
from radproof.training.history import Epoch, score
from radproof.training.objectives import CrossEntropy
from radproof.training.recipe import TrainingRecipe


@dataclass(frozen=True)
class Task:
    """What stays the same from the first epoch to the last."""

    recipe: TrainingRecipe
    head: Head
    train: Fold
    validation: Fold
    arithmetic: Arithmetic
    progress: Progress
    objective: CrossEntropy  # of the training fold
    judge: CrossEntropy  # of the validation fold: classes weigh the same, however the training makes up for them


@dataclass(frozen=True)
class Stage:
    """A part of the network that learns, and how it is asked."""

    name: Literal["head", "fine-tuning"]
    answer: Callable[[Tensor, Tensor], Tensor]  # rows of the training fold, their draws -> logits, with a gradient
    validate: Callable[[], Tensor]  # logits of the validation fold
    penalty: Callable[[], Tensor | float]
    train_mode: Callable[[], None]
    optimiser: torch.optim.Optimizer
    rate: Callable[[Sequence[float], int, int], float]  # validation losses so far, steps made, steps an epoch -> rate


def make_task(
    recipe: TrainingRecipe, head: Head, train: Fold, validation: Fold, classes: int, arithmetic: Arithmetic, p: Progress
) -> Task:
    """The task, with the weights that the recipe's balance asks for."""
    weights = None if recipe.balance == "none" else class_weights(train.targets, classes, head).to(arithmetic.device)
    weighed, plain = CrossEntropy(head, weights), CrossEntropy(head, None)
    objective = weighed if recipe.balance == "class_weights" else plain
    return Task(recipe, head, train, validation, arithmetic, p, objective, weighed)


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
            logits = stage.answer(rows[part], draws[part])
            loss = task.objective(logits, task.train.targets[rows[part]].to(device))
            _learn(stage, loss.mean() + stage.penalty(), rate)
            lost.append(loss.detach())
            said.append(logits.detach())
            task.progress.advance("training" if stage.name == "fine-tuning" else "head", len(part))
        validation = stage.validate()
    return _epoch(task, stage, number, rate, torch.cat(lost), torch.cat(said), rows, validation)


def _learn(stage: Stage, loss: Tensor, rate: float) -> None:
    for group in stage.optimiser.param_groups:
        group["lr"] = rate
    stage.optimiser.zero_grad()
    loss.backward()
    stage.optimiser.step()


def _epoch(
    task: Task, stage: Stage, number: int, rate: float, lost: Tensor, said: Tensor, rows: Tensor, validation: Tensor
) -> Epoch:
    train_loss = lost.double().mean().item()
    judged = task.judge(validation, task.validation.targets.to(validation.device)).double().mean().item()
    if not (math.isfinite(train_loss) and math.isfinite(judged)):
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
    )
