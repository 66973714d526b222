# SPDX-License-Identifier: Apache-2.0
"""Learning rates and early stopping as functions of what happened: a resumed training has no other state to restore.

One cycle: Smith & Topin, "Super-Convergence", 2018, with the cosine form and shares that torch uses.
"""

import math
from collections.abc import Sequence

from radproof.training.recipe import TrainingRecipe


def plateau_rate(recipe: TrainingRecipe, losses: Sequence[float]) -> float:
    """The rate after validation losses so far: lowered whenever `plateau_patience` epochs brought no lower loss."""
    rate, best, waited = recipe.lr, math.inf, 0
    for loss in losses:
        best, waited = (loss, 0) if loss < best else (best, waited + 1)
        if waited >= recipe.plateau_patience:
            rate, waited = max(rate * recipe.plateau_factor, min(recipe.lr_floor, rate)), 0
    return rate


def one_cycle_rate(
    peak: float, step: int, steps: int, *, warm: float = 0.3, start: float = 25, end: float = 1e4
) -> float:
    """The rate of step 0 … steps - 1: from peak / start to peak, then to peak / (start x end), along cosines."""
    top = warm * steps - 1
    low, lowest = peak / start, peak / (start * end)
    if step <= top:
        return _cosine(low, peak, step / top)
    return _cosine(peak, lowest, (step - top) / (steps - 1 - top))


def exhausted(recipe: TrainingRecipe, losses: Sequence[float]) -> bool:
    """Whether `patience` epochs have passed since the lowest validation loss."""
    return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= recipe.patience


def _cosine(begin: float, end: float, share: float) -> float:
    return end + (begin - end) / 2 * (1 + math.cos(math.pi * share))
