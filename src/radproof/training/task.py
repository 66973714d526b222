# SPDX-License-Identifier: Apache-2.0
"""What stays the same from the first epoch of a training to the last."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from radproof.core.progress import Progress
from radproof.core.types import Classifier, Head
from radproof.training.arithmetic import Arithmetic
from radproof.training.balance import class_weights
from radproof.training.folds import Fold
from radproof.training.inner import Adversary
from radproof.training.objectives import CrossEntropy
from radproof.training.recipe import TrainingRecipe


@dataclass(frozen=True)
class Task:
    """Recipe, folds, losses and helpers."""

    recipe: TrainingRecipe
    head: Head
    train: Fold
    validation: Fold
    arithmetic: Arithmetic
    progress: Progress
    objective: CrossEntropy  # of the training fold
    judge: CrossEntropy  # of the validation fold: classes weigh the same, however the training makes up for them
    adversary: Adversary | None = None
    teacher: Classifier | None = None
    before: Mapping[str, str] = field(default_factory=dict[str, str])  # fingerprints of start and teacher

    @property
    def fresh_count(self) -> bool:
        """Whether losses of fine-tuning cannot be compared with those of the head alone, which saw clean images."""
        return self.adversary is not None or self.recipe.noise > 0

    def soft_answers(self, images: Tensor) -> Tensor:
        """The teacher's logits (N, K) float32, without gradient."""
        assert self.teacher is not None
        with torch.no_grad():
            return torch.cat([self.teacher(part).float() for part in images.split(max(1, self.teacher.micro_batch))])

    def soft_answers_of(self, fold: Fold) -> Tensor:
        """The same for a whole fold, without augmentation."""
        device = self.arithmetic.device
        return torch.cat([self.soft_answers(part.to(device)) for part in fold.images.split(self.recipe.batch)])


def make_task(
    recipe: TrainingRecipe,
    head: Head,
    train: Fold,
    validation: Fold,
    classes: int,
    arithmetic: Arithmetic,
    progress: Progress,
    *,
    adversary: Adversary | None,
    teacher: Classifier | None,
    before: Mapping[str, str],
) -> Task:
    """The task, with the weights that the recipe's balance asks for, and the temperature of its distillation."""
    weights = None if recipe.balance == "none" else class_weights(train.targets, classes, head).to(arithmetic.device)
    heat = recipe.distill.temperature if recipe.distill else 1.0
    weighed, plain = CrossEntropy(head, weights, heat), CrossEntropy(head, None, heat)
    objective = weighed if recipe.balance == "class_weights" else plain
    return Task(recipe, head, train, validation, arithmetic, progress, objective, weighed, adversary, teacher, before)
