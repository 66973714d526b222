# SPDX-License-Identifier: Apache-2.0
"""What an attack costs, known before it runs: printed beside every success rate, so that unequal bills show."""

from collections.abc import Mapping
from typing import Any

from radproof.attacks.registry import attack
from radproof.core.registry import Passes

UNKNOWN = Passes(1, 1)  # of an attack that does not say: it takes gradients


def passes_per_image(name: str, params: Mapping[str, Any]) -> Passes:
    """What the attack `name` spends with settled parameters, at most: stopping early spends less.

    Raises UnknownName for an attack that is not registered.
    """
    cost = attack[name].cost
    return cost(params) if cost else UNKNOWN


def gradients_per_image(name: str, params: Mapping[str, Any]) -> int:
    """The bill as one number: gradients of the network per image, or forward passes where it takes no gradient."""
    passes = passes_per_image(name, params)
    return passes.backwards or passes.forwards
