# SPDX-License-Identifier: Apache-2.0
"""The attack inside a training: the network as in use, its weights held still, a new attack for every batch."""

from collections.abc import Generator as Generators
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

import torch
from torch import Generator, Tensor

from radproof.attacks import attack
from radproof.attacks.ascent import Ascent
from radproof.attacks.balls import Linf
from radproof.attacks.learned import Learner
from radproof.attacks.metered import Metered
from radproof.attacks.objective import Objective
from radproof.attacks.pool import Pool
from radproof.attacks.rules import Momentum
from radproof.attacks.wrapped import Wrapped
from radproof.core.goals import AnyFinding, Misclassify
from radproof.core.rng import generator, normal_like
from radproof.core.types import Attack, Goal, Head
from radproof.errors import BadInput
from radproof.models.classifier import ImageClassifier
from radproof.training.arithmetic import Arithmetic
from radproof.training.folds import Fold
from radproof.training.hardening import AdversarialRecipe
from radproof.training.objectives import divergence

AIDS = 64  # training images at hand for attacks that mix with others or borrow their style
START = 0.001  # standard deviation of the noise that trades and mart start from


@dataclass(frozen=True)
class Bend(Wrapped):
    """Move the answer away from the one on the clean image, whichever that was: what TRADES climbs."""

    clean: Tensor  # (N, K) logits
    head: Head

    def loss(self, logits: Tensor) -> Tensor:
        """(N,): the divergence from the clean answer."""
        return divergence(self.clean.to(logits), logits, self.head)

    def __getitem__(self, rows: Tensor) -> Self:
        return replace(self, goal=self.goal[rows], clean=self.clean[rows])


@contextmanager
def in_use(model: ImageClassifier) -> Generators[None, None, None]:
    """Lend the model as in use: batch statistics fixed, no dropout, no gradients for weights; then as it was."""
    modes = [(module, module.training) for module in model.modules()]
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.freeze()
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for module, mode in modes:
            module.training = mode


def misled(y: Tensor, head: Head) -> Goal:
    """Any wrong answer."""
    return Misclassify(y) if head == "softmax" else AnyFinding(y)


@dataclass(frozen=True, eq=False)
class Adversary:
    """Makes attacked images of a network that is being trained."""

    recipe: AdversarialRecipe
    model: ImageClassifier
    arithmetic: Arithmetic
    pool: Pool
    batch: int

    def __call__(self, x: Tensor, y: Tensor, eps: float, rng: Generator) -> Tensor:
        """Attacked images, shaped like x (N, C, H, W) and within eps of them where the attack knows a budget."""
        with in_use(self.model):
            goal = misled(y, self.model.head)
            if self.recipe.attack is not None:
                return self._registered(eps)(self._seen, x, goal, rng=rng).detach()
            if self.recipe.method in ("pgd", "fast"):
                return self._own(eps, random_start=True)(self._seen, x, goal, rng=rng)
            if self.recipe.method == "trades":
                goal = Bend(goal, Objective(self._seen, goal).logits(x), self.model.head)
            delta = normal_like(x, START, rng).clamp(-eps, eps)
            delta = torch.clamp(delta, -x, 1 - x)
            moved = self._own(eps).climb(Objective(self._seen, goal), x, delta, rng)
            return (x + moved).clamp(0, 1)

    def pgd(self, x: Tensor, y: Tensor, steps: int, rng: Generator) -> Tensor:
        """Images attacked by plain PGD at the full budget."""
        with in_use(self.model):
            made = attack["pgd"].make({"eps": self.recipe.eps, "steps": steps})
            return made(self._seen, x, misled(y, self.model.head), rng=rng)

    def check(self) -> None:
        """Build the attack once. Raises BadPlan or BadInput for one that cannot be trained against."""
        if self.recipe.method == "mart" and self.model.head == "sigmoid":
            raise BadInput("method mart is defined for one class per image; for findings side by side choose trades")
        if self.recipe.attack is not None:
            self._registered(self.recipe.eps)

    @property
    def _seen(self) -> Metered:
        return Metered(self.model, micro_batch=self.batch, precision=self.arithmetic.precision)

    def _own(self, eps: float, *, random_start: bool = False) -> Ascent:
        steps, stride = self.recipe.own_steps, self.recipe.stride
        return Ascent(Linf(eps), rule=Momentum(0.0), steps=steps, stride=stride, random_start=random_start)

    @lru_cache(maxsize=2)  # noqa: B019 - an adversary lives as long as its training
    def _registered(self, eps: float) -> Attack:
        assert self.recipe.attack is not None
        name, params = self.recipe.attack.settled()
        recipe = attack[name]
        offered: dict[str, Any] = {"pool": self.pool, "bank": self.pool.images, "anatomy": None}
        lacking = [what for what in recipe.needs.values() if what not in offered]
        if lacking:
            raise BadInput(f"attack {name} needs {lacking[0]!r}, which a training cannot supply; choose another")
        budget = {"eps": eps} if "eps" in params else {}
        made = recipe.make({**params, **budget}, **{arg: offered[what] for arg, what in recipe.needs.items()})
        if isinstance(made, Learner):
            raise BadInput(f"attack {name} learns on other images first and cannot be made batch by batch; choose pgd")
        return made


def make_adversary(
    recipe: AdversarialRecipe, model: ImageClassifier, fold: Fold, arithmetic: Arithmetic, batch: int, seed: int
) -> Adversary:
    """The adversary of a training, with some training images drawn by the seed at hand; checked."""
    rows = torch.randperm(len(fold), generator=generator(seed, "aids"))[:AIDS].sort().values
    device = arithmetic.device
    pool = Pool(fold.images[rows].to(device), fold.targets[rows].to(device))
    made = Adversary(recipe, model, arithmetic, pool, batch)
    made.check()
    return made
