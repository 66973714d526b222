# SPDX-License-Identifier: Apache-2.0
"""What an attack costs, known before it runs: printed beside every success rate, so that unequal bills show."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from radproof.core.names import nearest
from radproof.errors import UnknownName

Params = Mapping[str, Any]


class Passes(NamedTuple):
    """Passes through the network per image; every backward pass has a forward pass of its own among the forwards."""

    forwards: int
    backwards: int


def passes_per_image(name: str, params: Params) -> Passes:
    """What the attack `name` spends with settled parameters, at most: stopping early spends less.

    Raises UnknownName for an attack whose bill is not known.
    """
    if name not in _COSTS:
        raise UnknownName(f"no cost is known for the attack {name!r}{nearest(name, _COSTS)}")
    return _COSTS[name](params)


def gradients_per_image(name: str, params: Params) -> int:
    """The bill as one number: gradients of the network per image, or forward passes where it takes no gradient."""
    passes = passes_per_image(name, params)
    return passes.backwards or passes.forwards


def _gradients(count: int) -> Passes:
    return Passes(count, count)


def _pgd(p: Params) -> Passes:
    """Restarts are compared by a forward pass each; stopping early asks once before every step."""
    gradients = p["steps"] * p["restarts"]
    asked = gradients if p["stop_when_fooled"] else 0
    return Passes(gradients + asked + (p["restarts"] if p["restarts"] > 1 else 0), gradients)


_COSTS: Mapping[str, Callable[[Params], Passes]] = {
    "fgsm": lambda p: _gradients(1),
    "mi": lambda p: _gradients(p["steps"]),
    "pgd": _pgd,
    "pgd_l2": _pgd,
    "pgn": lambda p: _gradients(p["steps"] * p["samples"] * 2),
    "sia": lambda p: _gradients(p["steps"] * p["copies"]),
    "square": lambda p: Passes(p["queries"], 0),
    "stm": lambda p: _gradients(p["steps"] * p["copies"]),
    "usmm": lambda p: _gradients(p["steps"] * p["scales"] * p["mixes"]),
}
