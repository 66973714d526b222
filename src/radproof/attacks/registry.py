# SPDX-License-Identifier: Apache-2.0
"""The two lists of what can be done to an image: attacks have an adversary and a budget, corruptions have neither.

They are kept apart so that nothing visible to the naked eye is ever given an L-infinity number.
"""

from typing import Protocol

from torch import Generator, Tensor

from radproof.core.registry import Registry
from radproof.core.types import Attack


class Corruption(Protocol):
    """Spoils images (N, C, H, W) in [0, 1] without looking at any model."""

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor:
        """Spoilt images, shaped like x and in [0, 1]."""
        ...


attack: Registry[Attack] = Registry("attack")
corruption: Registry[Corruption] = Registry("corruption")
