# SPDX-License-Identifier: Apache-2.0
"""Several defences in a row are one defence."""

from dataclasses import dataclass
from typing import get_args

from torch import Generator, Tensor

from radproof.core.types import Backward, Defense


@dataclass(frozen=True)
class Composed:
    """The parts one after the other; its twin is the parts' twins one after the other."""

    parts: tuple[Defense, ...]

    @property
    def deterministic(self) -> bool:
        """Whether every part is."""
        return all(part.deterministic for part in self.parts)

    @property
    def differentiable(self) -> bool:
        """Whether every part is."""
        return all(part.differentiable for part in self.parts)

    @property
    def ways(self) -> tuple[Backward, ...]:
        """Those of any part; the twin alone where a part knows no other."""
        if any(part.ways == ("twin",) for part in self.parts):
            return ("twin",)
        offered = {way for part in self.parts for way in part.ways}
        return tuple(way for way in get_args(Backward) if way in offered)

    @property
    def votes(self) -> int:
        """The most that any part wants."""
        return max(part.votes for part in self.parts)

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor:
        """(N, C, H, W) in [0, 1] -> the same through all parts."""
        for part in self.parts:
            x = part(x, rng=rng)
        return x

    def surrogate(self, x: Tensor, *, rng: Generator) -> Tensor:
        """The same through all twins."""
        for part in self.parts:
            x = part.surrogate(x, rng=rng)
        return x
