# SPDX-License-Identifier: Apache-2.0
"""The list of detectors that a plan can name. All are blind: they see the image in hand and never its original."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from radproof.core.registry import Registry
from radproof.core.types import Classifier, FittedDetector


class Stored(FittedDetector, Protocol):
    """A fitted detector that can be written down: what it learned, as tensors."""

    def state(self) -> dict[str, Tensor]:
        """All that it learned, under names of its own."""
        ...


class Restorable(Protocol):
    """A core.types.Detector whose fitted form can be read back."""

    def fit(self, model: Classifier, clean: Tensor) -> Stored:
        """Learn from clean images (N, C, H, W) what is usual."""
        ...

    def restore(self, model: Classifier, state: Mapping[str, Tensor]) -> Stored:
        """Read back what `state` gave. Raises BadInput for a state not its own."""
        ...


detector: Registry[Restorable] = Registry("detector")
