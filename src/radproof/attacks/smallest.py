# SPDX-License-Identifier: Apache-2.0
"""The smallest budget that fools each image: a white-box search, in float and as stored on whole grey levels.

All images of a batch are searched together, each with its own budget, and every attempt starts from the perturbation
found at the last larger budget. So these numbers answer one question only; curves over budgets come from cold runs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from radproof.attacks.ascent import Ascent
from radproof.attacks.balls import Linf
from radproof.attacks.objective import Objective
from radproof.attacks.rules import Momentum
from radproof.attacks.whitebox.pgd import OVERSHOOT
from radproof.core.depth import Depth
from radproof.core.types import Classifier, Goal
from radproof.errors import BadPlan

SHRINKS = 6  # forward passes spent on scaling down each perturbation found, a fraction of what finding it costs
Store = Callable[[Tensor, Tensor, float], Tensor]
"""(adversarial, original, eps) -> the adversarial as it is read back from a file: rounded, within eps, in [0, 1]."""


def smallest_budgets(
    model: Classifier,
    x: Tensor,
    goal: Goal,
    *,
    most: float,
    steps: int,
    rounds: int,
    depth: Depth,
    rng: Generator,
    store: Store | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Smallest L-infinity budgets (N,) in float, then as stored at a depth; the adversarials of both.

    Budgets are float64 (float32 on mps) in [0, 1] pixel units: 0 for images that reach the goal untouched, NaN for
    those that PGD does not fool at `most`; these come back unchanged, as do all that no stored budget fools. Budgets
    are upper bounds: a better attack might need less. Stored ones are whole grey levels E / top, judged on
    what `store` gives back; without `store` all are NaN. Whether an image fools is asked of the model as it is: Metered
    answers in float32. Raises BadPlan for parameters out of range.
    """
    _check(most, steps, rounds, depth)
    search = _Search(model, goal, steps, rounds, rng)
    x = x.detach()
    budget = torch.full((len(x),), torch.nan, dtype=_widest(x.device), device=x.device)
    if not len(x):
        return budget, budget.clone(), x.clone(), x.clone()
    already = Objective(model, goal).judge(x)[1]
    budget[already] = 0.0
    adversarial = x.clone()
    rows = (~already).nonzero().flatten()
    if len(rows):
        budget[rows], adversarial[rows] = search.in_float(rows, x[rows], most)
    stored, read = torch.where(already, 0.0, torch.nan).to(budget), x.clone()
    rows = (budget > 0).nonzero().flatten()
    if store is not None and len(rows):
        delta = adversarial[rows] - x[rows]
        stored[rows], read[rows] = search.as_stored(rows, x[rows], delta, budget[rows], most, depth.top, store)
    return budget, stored, adversarial, read


@dataclass(frozen=True)
class _Search:
    model: Classifier
    goal: Goal
    steps: int
    rounds: int
    rng: Generator

    def objective(self, rows: Tensor) -> Objective:
        return Objective(self.model, self.goal[rows])

    def climb(self, rows: Tensor, x: Tensor, delta: Tensor, eps: Tensor, *, stop: bool) -> Tensor:
        """PGD with a budget for each image, from delta on."""
        ball = Linf(eps.to(x))
        ascent = Ascent(
            ball, rule=Momentum(0.0), steps=self.steps, stride=OVERSHOOT / self.steps, stop_when_fooled=stop
        )
        start = torch.clamp(ball.project(delta), -x, 1 - x)
        return ascent.climb(self.objective(rows), x, start, self.rng)

    def in_float(self, rows: Tensor, x: Tensor, most: float) -> tuple[Tensor, Tensor]:
        """Bisect in the logarithm; each perturbation found is first shrunk as far as it still fools."""
        high = torch.full((len(x),), most, dtype=_widest(x.device), device=x.device)
        low = torch.zeros_like(high)
        fooled, delta = self._fool(rows, x, Linf(most).start(x, self.rng), high)
        high = torch.where(fooled, _used(delta, high), torch.nan)
        found = torch.where(fooled.view(-1, 1, 1, 1), x + delta, x)
        live = fooled.nonzero().flatten()
        for _ in range(self.rounds if len(live) else 0):
            middle = _between(low[live], high[live])
            warm = (found[live] - x[live]) * (middle / high[live]).to(x).view(-1, 1, 1, 1)
            hit, delta = self._fool(rows[live], x[live], warm, middle)
            found[live[hit]] = (x[live] + delta)[hit]
            high[live[hit]] = _used(delta, middle)[hit]
            low[live[~hit]] = middle[~hit]
        return high, found

    def _fool(self, rows: Tensor, x: Tensor, delta: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) whether PGD fools within eps, and its perturbation, scaled down by forward passes alone."""
        objective = self.objective(rows)
        delta = self.climb(rows, x, delta, eps, stop=True)
        hit = objective.judge(x + delta)[1]
        low, high = torch.zeros_like(eps), torch.ones_like(eps)
        for _ in range(SHRINKS):
            middle = _between(low, high)
            enough = objective.judge(x + middle.to(x).view(-1, 1, 1, 1) * delta)[1]
            high, low = torch.where(enough, middle, high), torch.where(enough, low, middle)
        return hit, delta * high.to(x).view(-1, 1, 1, 1)

    def as_stored(
        self, rows: Tensor, x: Tensor, delta: Tensor, budget: Tensor, most: float, levels: int, store: Store
    ) -> tuple[Tensor, Tensor]:
        """Whole grey levels: first the float budget rounded up, then the most, then bisection between the two.

        Budgets, and the images as read back.
        """
        top = torch.full_like(budget, math.floor(most * levels + 1e-6))
        low = torch.minimum((budget * levels - 1e-6).ceil().clamp_min(1), top)
        high, kept = torch.full_like(budget, torch.nan), x.clone()
        self._attempt(rows, x, delta, low, high, kept, levels, store)
        self._attempt(rows, x, delta, top, high, kept, levels, store)
        for _ in range(self.rounds):
            middle = (low * high).sqrt().round()
            middle = torch.minimum(torch.maximum(middle, low + 1), high - 1)
            middle = torch.where(middle > low, middle, torch.nan)
            if middle.isnan().all():
                break
            hit = self._attempt(rows, x, delta, middle, high, kept, levels, store)
            low = torch.where(middle.isnan() | hit, low, middle)
        return high / levels, kept

    def _attempt(
        self,
        rows: Tensor,
        x: Tensor,
        delta: Tensor,
        tried: Tensor,
        high: Tensor,
        kept: Tensor,
        levels: int,
        store: Store,
    ) -> Tensor:
        """Attack at `tried` grey levels, store, read back, judge; where it fools, `high` falls and `kept` is the image.

        Returns where it fooled, (N,) bool.
        """
        hit = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        live = (~tried.isnan() & ~(tried >= high)).nonzero().flatten()
        if not len(live):
            return hit
        eps = tried[live] / levels
        here = x[live]
        moved = here + self.climb(rows[live], here, delta[live], eps, stop=False)
        read = torch.empty_like(here)
        for level in tried[live].unique():
            same = tried[live] == level
            read[same] = store(moved[same], here[same], float(level) / levels).to(here)
        hit[live] = self.objective(rows[live]).judge(read)[1]
        high[hit] = tried[hit]
        kept[hit] = read[hit[live]]
        return hit


def _widest(device: torch.device) -> torch.dtype:
    """Apple's processors know no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def _between(low: Tensor, high: Tensor) -> Tensor:
    """Half-way in the logarithm; a quarter of the way up from nothing."""
    return torch.where(low > 0, (low * high).sqrt(), high / 4)


def _used(delta: Tensor, allowed: Tensor) -> Tensor:
    """The budget that a perturbation uses, never more than it was allowed."""
    return torch.minimum(delta.abs().amax(dim=(1, 2, 3)).to(allowed), allowed)


def _check(most: float, steps: int, rounds: int, depth: Depth) -> None:
    if not 0 < most <= 1:
        raise BadPlan(f"most is {most!r}, expected a budget above 0 and at most 1, such as 16/255")
    if steps < 1 or rounds < 1:
        raise BadPlan(f"steps and rounds are {steps} and {rounds}, expected at least 1 of each")
    if depth.levels(most) < 1:
        raise BadPlan(f"most is {most:g}, less than one of {depth.top + 1} grey levels; raise it")
