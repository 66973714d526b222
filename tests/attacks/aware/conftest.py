# SPDX-License-Identifier: Apache-2.0
"""A linear classifier and a detector of checkerboards, for which it is known exactly who can be fooled unseen.

The margin is 20 * sum((x - 1/2) * (0.75 checker + 0.66 halves)); the detector measures the mean along the checker.
Pixels fall into two groups, where the patterns agree and where they do not, so a perturbation of mean c along the
checker and h along the halves exists within eps just where |c| + |h| <= eps. Signed steps go along the checker alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from radproof.core.goals import Misclassify
from radproof.core.types import Watch

SIDE, EPS = 8, 4 / 255
LIMIT = 0.1 * EPS  # the greatest mean along the checker that is not noticed


@dataclass
class World:
    """Images 1/2 - share * eps * halves: fooled from share < 0.75 / 0.66, unseen as well from share < 1.01."""

    shares: tuple[float, ...] = (0.3, 0.6, 0.8, 0.9, 1.08)
    micro_batch: int = 3
    eps: float = EPS
    limit: float = LIMIT
    head: str = "softmax"
    labels: tuple[str, ...] = ("a", "b")
    checker: Tensor = field(init=False)
    halves: Tensor = field(init=False)

    def __post_init__(self) -> None:
        index = torch.arange(SIDE)
        self.checker = ((index[:, None] + index) % 2 * 2 - 1).double()
        self.halves = torch.where(index < SIDE // 2, 1.0, -1.0).double()[:, None].expand(SIDE, SIDE)

    def __call__(self, x: Tensor, /) -> Tensor:
        assert len(x) <= self.micro_batch
        margin = 20 * ((x - 0.5) * (0.75 * self.checker + 0.66 * self.halves)).sum((1, 2, 3))
        return torch.stack([-margin / 2, margin / 2], 1)

    @property
    def x(self) -> Tensor:
        return torch.stack([0.5 - share * EPS * self.halves[None] for share in self.shares])

    @property
    def goal(self) -> Misclassify:
        return Misclassify(torch.zeros(len(self.shares), dtype=torch.long))

    def along(self, x: Tensor) -> Tensor:
        assert len(x) <= self.micro_batch
        return (x * self.checker).mean((1, 2, 3)).abs()

    def margin(self, x: Tensor) -> Tensor:
        return torch.cat([self(row[None]).diff(dim=1).flatten() for row in x])

    def watch(self, suspicion: Callable[[Tensor], Tensor] | None = None, threshold: float = LIMIT) -> Watch:
        return Watch(suspicion or self.along, threshold, LIMIT / 2)

    def outcome(self, out: Tensor) -> tuple[list[bool], list[bool]]:
        """Who is fooled, and who is unseen; the budget is checked on the way."""
        assert float((out - self.x).abs().max()) <= EPS * (1 + 1e-9)
        assert 0 <= float(out.min()) <= float(out.max()) <= 1
        seen = torch.cat([self.along(row[None]) for row in out])
        return (self.margin(out) > 0).tolist(), (seen <= LIMIT).tolist()


@pytest.fixture
def world() -> Callable[..., World]:
    return World
