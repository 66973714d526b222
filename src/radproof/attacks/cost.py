# SPDX-License-Identifier: Apache-2.0
"""What an attack costs, known before it runs: printed beside every success rate, so that unequal bills show."""

from collections.abc import Callable, Mapping
from typing import Any

from radproof.core.names import nearest
from radproof.errors import UnknownName

Params = Mapping[str, Any]

_COSTS: Mapping[str, Callable[[Params], int]] = {
    "fgsm": lambda p: 1,
    "mi": lambda p: p["steps"],
    "pgd": lambda p: p["steps"] * p["restarts"],
    "pgd_l2": lambda p: p["steps"] * p["restarts"],
    "pgn": lambda p: p["steps"] * p["samples"] * 2,
    "sia": lambda p: p["steps"] * p["copies"],
    "square": lambda p: p["queries"],
    "stm": lambda p: p["steps"] * p["copies"],
    "usmm": lambda p: p["steps"] * p["scales"] * p["mixes"],
}


def gradients_per_image(name: str, params: Params) -> int:
    """Gradients of the network per image (for square: forward passes), at most, for settled parameters.

    Attacks told to stop early spend less. Raises UnknownName for an attack whose bill is not known.
    """
    if name not in _COSTS:
        raise UnknownName(f"no cost is known for the attack {name!r}{nearest(name, _COSTS)}")
    return int(_COSTS[name](params))
