# SPDX-License-Identifier: Apache-2.0
"""The two stages of the published recipe: the head on cached features of the frozen backbone, then its last layers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from radproof.core.progress import SILENT, Progress
from radproof.core.rng import generator, normal_like
from radproof.models.classifier import ImageClassifier
from radproof.training.arithmetic import Arithmetic
from radproof.training.augment import augment
from radproof.training.augment_style import style_bank
from radproof.training.balance import steps_in
from radproof.training.epochs import Stage, make_optimiser
from radproof.training.folds import Fold
from radproof.training.layers import unfreeze
from radproof.training.lessons import Batch, Lesson, losses_of, teach
from radproof.training.objectives import hidden_penalty
from radproof.training.robust import robust
from radproof.training.schedule import one_cycle_rate, plateau_rate
from radproof.training.task import Task


def head_stage(task: Task, model: ImageClassifier) -> Stage:
    """The head alone. The backbone is asked about each image once, without augmentation, and not again."""
    recipe, progress = task.recipe, task.progress
    progress.start("features", len(task.train) + len(task.validation))
    train = features_of(model, task.train, task.arithmetic, recipe.batch, progress)
    validation = features_of(model, task.validation, task.arithmetic, recipe.batch, progress)
    soft = task.soft_answers_of(task.train) if task.teacher is not None else None
    layers = unfreeze(model, 0)

    def lesson(batch: Batch) -> Lesson:
        logits = model.top(train[batch.rows.to(train.device)])
        targets = task.train.targets[batch.rows].to(logits.device)
        return Lesson(
            logits, losses_of(task, logits, targets, None if soft is None else soft[batch.rows.to(soft.device)])
        )

    def validate() -> Tensor:
        model.eval()
        with torch.no_grad():
            return model.top(validation)

    return Stage(
        name="head",
        lesson=lesson,
        validate=validate,
        penalty=lambda: hidden_penalty(model.top, recipe.l2),
        train_mode=layers.train,
        optimiser=make_optimiser(recipe, layers.parameters()),
        rate=lambda losses, done, steps: recipe.head_lr,
    )


def fine_tuning_stage(task: Task, model: ImageClassifier) -> Stage:
    """The head and the last layers of the backbone, on augmented images."""
    recipe, device = task.recipe, task.arithmetic.device
    layers = unfreeze(model, recipe.unfreeze)
    layers.keep_up(steps_in(len(task.train), recipe.batch))
    bank = style_bank(task.train.images, recipe.augment, device)
    validation = noisy(task.validation, recipe.noise, recipe.seed)
    if layers.frozen and not (recipe.weights or recipe.pretrained or "start" in task.before):
        task.progress.note(
            f"{len(layers.frozen)} layers of {recipe.architecture} stay as random as they began; give pretrained "
            "weights, or set unfreeze: all"
        )

    def answer(images: Tensor) -> Tensor:
        return model.top(_features(model, images, task.arithmetic))

    def lesson(batch: Batch) -> Lesson:
        images = augment(task.train.images[batch.rows].to(device), batch.draws, recipe.augment, bank)
        return teach(task, answer, images, task.train.targets[batch.rows].to(device), batch)

    def rate(losses: Sequence[float], done: int, steps: int) -> float:
        if recipe.schedule == "plateau":
            return plateau_rate(recipe, losses)
        return one_cycle_rate(recipe.lr, done, recipe.epochs * steps)

    return Stage(
        name="fine-tuning",
        lesson=lesson,
        validate=lambda: logits_of(model, validation, task.arithmetic, recipe.batch),
        penalty=lambda: hidden_penalty(model.top, recipe.l2),
        train_mode=layers.train,
        optimiser=make_optimiser(recipe, layers.parameters()),
        rate=rate,
        robust=(lambda: robust(task, adversary)) if (adversary := task.adversary) else None,
    )


def noisy(fold: Fold, sigma: float, seed: int) -> Fold:
    """A fold under Gaussian noise, the same every time: what a network trained on noise is judged by."""
    if not sigma:
        return fold
    noise = normal_like(fold.images, sigma, generator(seed, "noise", fold.name))
    return Fold(fold.name, fold.images + noise, fold.targets)


@torch.no_grad()
def features_of(model: ImageClassifier, fold: Fold, arithmetic: Arithmetic, batch: int, progress: Progress) -> Tensor:
    """(N, F) float32 on the device, of every image of a fold, from the model as in use."""
    model.eval()
    found: list[Tensor] = []
    for part in fold.images.split(batch):
        found.append(_features(model, part.to(arithmetic.device), arithmetic))
        progress.advance("features", len(part))
    return torch.cat(found)


@torch.no_grad()
def logits_of(model: ImageClassifier, fold: Fold, arithmetic: Arithmetic, batch: int) -> Tensor:
    """(N, K) float32 on the device, before any temperature, of every image of a fold, from the model as in use."""
    return model.top(features_of(model, fold, arithmetic, batch, SILENT))


def _features(model: ImageClassifier, images: Tensor, arithmetic: Arithmetic) -> Tensor:
    # The head is so small that its precision costs nothing, and bfloat16 logits would blur the losses compared.
    with arithmetic():
        pooled = model.pool(model.maps_of(images))
    return pooled.float()
