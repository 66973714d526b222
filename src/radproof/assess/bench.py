# SPDX-License-Identifier: Apache-2.0
"""One contender on a bench: attacked at the plan's largest budget through the backward passes that the plan took."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from radproof.assess.answers import rightness
from radproof.assess.contenders import Contender
from radproof.assess.material import Material, batch_generator
from radproof.assess.scoring import predict
from radproof.assess.workspace import Arrays
from radproof.attacks import attack
from radproof.attacks.balls import Linf
from radproof.attacks.objective import Objective
from radproof.attacks.whitebox.losses import LOSSES
from radproof.attacks.whitebox.pgd import OVERSHOOT
from radproof.core.goals import goal as make_goal
from radproof.core.types import Attack, Backward, Classifier, Goal
from radproof.data.storage import quantise, to_unit_tensor
from radproof.errors import NoGradient

STEPS = (5, 20)  # of the probing PGD: as many as the plan's longest attack, within these
LONGER = (10, 40)  # twice as many, within these
# What a smaller change fools, a larger may, and its steps are finer.
HUGE = {"huge/16": 1 / 32, "huge/8": 1 / 16, "huge/4": 1 / 8, "huge": 1 / 2}
HUGE_STEPS = 12
QUERIES = 60  # of Square, where PGD failed


@dataclass(frozen=True)
class Bench:
    """One contender with the images of one batch."""

    material: Material
    name: str
    contender: Contender
    batch: int
    planned: int = 0  # steps of the plan's longest attack on it

    @property
    def rows(self) -> list[int]:
        """Which test images."""
        return list(self.material.batches[self.batch])

    @cached_property
    def x(self) -> Tensor:
        """The images."""
        return self.material.images(self.rows)

    @cached_property
    def goal(self) -> Goal:
        """Any wrong answer."""
        material = self.material
        return make_goal("misclassify", material.y[self.rows], material.manifest.labels, material.manifest.head)

    @property
    def eps(self) -> float:
        """The plan's largest budget."""
        return self.material.plan.budgets[-1]

    @property
    def ways(self) -> tuple[Backward, ...]:
        """The backward passes that adaptive attacks took."""
        return self.contender.ways

    def attacked(self, way: Backward, *, eot: int | None = None, seed: int = 0) -> Classifier:
        """A classifier with gradients, drawing from the start."""
        plan = self.material.plan
        return self.contender.attacked(way, seed=plan.seed + seed, eot=eot or plan.eot)

    def rng(self, *what: object) -> torch.Generator:
        """Random numbers of one probe."""
        return batch_generator(self.material, "probe", self.name, *what, self.batch)

    def answer(self, x: Tensor, what: str) -> Tensor:
        """Logits (N, K) on the CPU, as the contender answers when it is scored."""
        return predict(self.contender.answering(int(self.rng("score", what).initial_seed())), x)

    def right_of(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """(N,) bool."""
        y = self.material.y.cpu().numpy()[self.rows]
        y = y if rows is None else y[rows.cpu().numpy()]
        return torch.as_tensor(rightness(logits.double().numpy(), y, self.material.manifest.head)[0])

    def right(self, x: Tensor, what: str, rows: Tensor | None = None) -> Tensor:
        """(N,) bool: which images are answered rightly."""
        return self.right_of(self.answer(x, what), rows)

    def stored(self, made: Tensor, rows: Tensor) -> Tensor:
        """As a file would hold the images."""
        depth = self.material.depths[self.rows[0]]
        ints = quantise(made, self.x[rows], eps=self.eps, norm="linf", depth=depth)
        return to_unit_tensor(ints, depth).to(made.device)

    def noisy(self) -> Tensor:
        """Random signs of the budget's size."""
        x = self.x
        signs = torch.randint(0, 2, x.shape, generator=self.rng("noise"), device=x.device, dtype=torch.int8) * 2 - 1
        return self.stored((x + self.eps * signs).clamp(0, 1), torch.arange(len(x), device=x.device))

    def left(self, what: str, live: Tensor) -> Tensor:
        """(N,) bool: which of the live images are still right after an attack through every way."""
        left = live.clone()
        for way in ("none",) if what == "square" else self.ways:
            rows = left.nonzero().flatten()
            if len(rows):
                here = rows.to(self.x.device)
                try:
                    made = self._attack(what, way, here)
                except NoGradient:
                    continue
                kept = made if what in HUGE else self.stored(made, here)
                left[rows] = self.right(kept, f"{what} {way}", rows)
        return left

    def huge(self, live: Tensor) -> Tensor:
        """(N,) bool: which of the live images are still right after changes that can hide any image."""
        for what in HUGE:
            live = self.left(what, live)
        return live

    def _attack(self, what: str, way: Backward, rows: Tensor) -> Tensor:
        x, goal, model = self.x[rows], self.goal[rows], self.attacked(way)
        if what == "margin":
            return self.climb(model, rows, LOSSES["margin"](goal), way)[0]
        return self._part(what)(model, x, goal, rng=self.rng(what, way))

    def _part(self, what: str) -> Attack:
        eps, early = self.eps, not self.contender.random
        if what == "square":
            return attack["square"].make({"eps": eps, "queries": QUERIES})
        if what == "fgsm":
            return attack["fgsm"].make({"eps": eps})
        if what in HUGE:
            return attack["pgd"].make({"eps": HUGE[what], "steps": HUGE_STEPS, "stop_when_fooled": early})
        return attack["pgd"].make({"eps": eps, "steps": self.longer})

    @property
    def steps(self) -> int:
        """Of the probing PGD: as many as the plan's longest attack takes, within bounds."""
        return int(np.clip(self.planned, *STEPS))

    @property
    def longer(self) -> int:
        """Twice as many."""
        return int(np.clip(2 * self.planned, *LONGER))

    def climbed(self, right: Tensor) -> Arrays:
        """PGD, told step by step: who is still right, also when asked again, and how the loss rose."""
        left, again = right.clone(), right.clone()
        path = torch.full((self.steps + 1, len(right)), torch.nan, dtype=torch.float64)
        rows = right.nonzero().flatten()
        for way in self.ways if len(rows) else ():
            here = rows.to(self.x.device)
            try:
                made, losses = self.climb(self.attacked(way), here, self.goal[here], way)
            except NoGradient:
                continue
            kept = self.stored(made, here)
            left[rows] &= self.right(kept, f"pgd {way}", rows)
            if self.contender.random:
                again[rows] &= self.right(kept, f"again {way}", rows)
            best = path[-1, rows].nan_to_num(-torch.inf) < losses[-1]  # of several ways, the one that leads higher
            path[:, rows] = torch.where(best, losses, path[:, rows])
        first, last = path[0], path[-1]
        rising = (path.diff(dim=0) > 0).double().mean(0)
        found: Arrays = {"pgd": left.numpy(), "again": (again if self.contender.random else left).numpy()}
        return found | {
            "rose": (last > first).double().where(~first.isnan(), torch.nan).numpy(),
            "rising": rising.where(~first.isnan(), torch.nan).numpy(),
        }

    def climb(self, model: Classifier, rows: Tensor, goal: Goal, way: Backward) -> tuple[Tensor, Tensor]:
        """Images after PGD, and the losses before every step and after the last: (steps + 1, n), on the CPU."""
        x, ball, steps = self.x[rows], Linf(self.eps), self.steps
        objective, losses = Objective(model, goal), list[Tensor]()
        # Other losses start from the same place: what differs is the loss alone.
        delta = ball.start(self.x, self.rng("start", way))[rows].clamp(-x, 1 - x)
        for _ in range(steps):
            loss, _, gradient = objective.climb(x + delta)
            losses.append(loss)
            delta = ball.project(delta + OVERSHOOT / steps * self.eps * gradient.sign()).clamp(-x, 1 - x)
        losses.append(objective.loss(x + delta))
        return (x + delta).clamp(0, 1), torch.stack(losses).double().cpu()
