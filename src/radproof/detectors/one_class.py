# SPDX-License-Identifier: Apache-2.0
"""Measurements and what is usual among them: most detectors are no more than this."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from radproof.detectors.look import Look
from radproof.detectors.usual import Usual
from radproof.errors import BadInput


class Measure(Protocol):
    """Named numbers of images, without anything learnt."""

    @property
    def words(self) -> tuple[str, ...]:
        """What each column tells, as a reader would say it."""
        ...

    def __call__(self, look: Look) -> Tensor:
        """(N, F); with a gradient where the look is soft."""
        ...


@dataclass(frozen=True)
class UsualJudge:
    """Implements registry.Judge."""

    measure: Measure
    usual: Usual

    def __call__(self, look: Look) -> Tensor:
        """How unusual the measurements are together."""
        return self.usual(self.measure(look))

    def measures(self, look: Look) -> dict[str, Tensor]:
        """Each measurement by itself."""
        return dict(zip(self.measure.words, self.usual.each(self.measure(look)).unbind(1), strict=True))

    def state(self) -> dict[str, Tensor]:
        """What is usual."""
        return self.usual.state()


@dataclass(frozen=True)
class OneClass:
    """Learns what is usual of a measure. Implements registry.Learner."""

    measure: Measure

    def learn(self, pieces: Sequence[Look]) -> UsualJudge:
        """From clean images."""
        return UsualJudge(self.measure, Usual.of(torch.cat([self.measure(piece).double().cpu() for piece in pieces])))

    def restore(self, state: Mapping[str, Tensor]) -> UsualJudge:
        """Raises BadInput where another number of columns was stored."""
        usual = Usual.restored(state)
        if len(usual.mean) != len(self.measure.words):
            raise BadInput(
                f"the stored detector has {len(usual.mean)} measurements, this one {len(self.measure.words)}; "
                "it was written by another version or detector, fit this one again"
            )
        return UsualJudge(self.measure, usual)
