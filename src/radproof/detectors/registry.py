# SPDX-License-Identifier: Apache-2.0
"""The list of detectors that a plan can name, and what one is made of.

All are blind: they see the image in hand and never its original. A detector is a Learner, what it learns from clean
images is a Judge, and `fitted.Fitted` puts a judge and a model together.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from radproof.core.registry import Registry
from radproof.detectors.look import Look


class Judge(Protocol):
    """What was learnt: scores one look at a time."""

    def __call__(self, look: Look) -> Tensor:
        """(N,) float64, higher is more suspicious; with a gradient where the look is soft."""
        ...

    def measures(self, look: Look) -> dict[str, Tensor]:
        """By what was measured, in words a reader understands: (N,) how many clean spreads above the usual."""
        ...

    def state(self) -> dict[str, Tensor]:
        """All that it learned, as tensors under names of its own."""
        ...


class Learner(Protocol):
    """Learns from clean images alone what is usual."""

    def learn(self, pieces: Sequence[Look]) -> Judge:
        """Raises BadModel for a model that does not show what this detector looks at."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> Judge:
        """Read back what `state` gave. Raises BadInput for a state not its own."""
        ...


detector: Registry[Learner] = Registry("detector")
