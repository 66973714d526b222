# SPDX-License-Identifier: Apache-2.0
"""What an epoch of adversarial training is worth: the answers on attacked validation images.

The best epoch is the one with the lowest loss on them. Robust accuracy on some hundred images is coarse and, where
classes are unequal, best for a network that always names the commonest; the loss weighs classes alike. Training longer
lowers it no further at some point ("robust overfitting", Rice, Wong & Kolter, ICML 2020, arXiv:2002.11569).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from radproof.attacks import attack
from radproof.core.registry import Passes
from radproof.core.rng import generator
from radproof.training.folds import Fold
from radproof.training.hardening import AdversarialRecipe
from radproof.training.history import Epoch, score
from radproof.training.inner import Adversary, in_use
from radproof.training.task import Task

HELD = 128  # training images that fast adversarial training is checked on, at most
HELD_STEPS = 5
DROP = 0.2  # of their accuracy, from one check to the next


@dataclass(frozen=True)
class Robust:
    """Attacked answers after an epoch."""

    loss: float  # classes weighed alike
    accuracy: float
    held: float | None  # accuracy on the held minibatch of training images; method fast


def robust(task: Task, adversary: Adversary) -> Robust:
    """Attack validation images anew, always the same ones from the same starts."""
    recipe = adversary.recipe
    seed = task.recipe.seed
    some = chosen(task.validation, recipe.validation_images, seed)
    logits = _answers(task, adversary, some, recipe.validation_steps, "robust validation")
    loss = task.judge(logits, some.targets.to(logits.device)).double().mean().item()
    accuracy = score(logits, some.targets, task.head).accuracy
    if recipe.method != "fast":
        return Robust(loss, accuracy, None)
    held = chosen(task.train, HELD, seed)
    answers = _answers(task, adversary, held, HELD_STEPS, "held")
    return Robust(loss, accuracy, score(answers, held.targets, task.head).accuracy)


def collapse(before: Epoch | None, now: Epoch) -> str | None:
    """Why fast adversarial training has to stop: the held images are suddenly lost (Wong et al., ICLR 2020)."""
    earlier = None if before is None else before.train_robust_accuracy
    if earlier is None or now.train_robust_accuracy is None or earlier - now.train_robust_accuracy <= DROP:
        return None
    return (
        f"catastrophic overfitting: accuracy of held training images under {HELD_STEPS}-step PGD fell from "
        f"{earlier:.0%} to {now.train_robust_accuracy:.0%}; stopped, epochs before count"
    )


def chosen(fold: Fold, most: int, seed: int) -> Fold:
    """At most so many images of a fold, drawn by the seed."""
    rows = torch.randperm(len(fold), generator=generator(seed, "attacked", fold.name))[:most].sort().values
    return Fold(fold.name, fold.images[rows], fold.targets[rows])


def units(task: Task) -> float:
    """What an epoch costs, in training images: attacks on validation images count as what they take."""
    if task.adversary is None:
        return float(len(task.train))
    recipe = task.adversary.recipe
    validated = min(recipe.validation_images, len(task.validation)) * share(recipe, recipe.validation_steps)
    held = min(HELD, len(task.train)) * share(recipe, HELD_STEPS) if recipe.method == "fast" else 0
    return len(task.train) + validated + held


def share(recipe: AdversarialRecipe, steps: int) -> float:
    """The cost of an image attacked by PGD, in training images; a full backward pass counts as two."""
    lessons = 6 if recipe.method in ("trades", "mart") else 3
    return (2 * steps + 1) / ((1 - recipe.clean_share) * _inner(recipe) + lessons)


def _inner(recipe: AdversarialRecipe) -> float:
    """Passes of the inner attack per image."""
    if recipe.attack is None:
        return 2.0 * recipe.own_steps
    name, params = recipe.attack.settled()
    cost = attack[name].cost
    passes = cost(params) if cost else Passes(10, 10)
    return float(passes.forwards + passes.backwards)


def _answers(task: Task, adversary: Adversary, fold: Fold, steps: int, what: str) -> Tensor:
    """(N, K) logits in float32 of a fold's images, each attacked."""
    model, device = adversary.model, task.arithmetic.device
    found: list[Tensor] = []
    for number, rows in enumerate(torch.arange(len(fold)).split(task.recipe.batch)):
        rng = generator(task.recipe.seed, what, number, device=device)
        x, y = fold.images[rows].to(device), fold.targets[rows].to(device)
        attacked = adversary.pgd(x, y, steps, rng)
        with in_use(model), torch.no_grad():
            found.append(model(attacked))
        task.progress.advance("training", len(rows) * share(adversary.recipe, steps))
    return torch.cat(found)
