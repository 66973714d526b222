# SPDX-License-Identifier: Apache-2.0
"""Parameter types: each is named, bounded and documented once, here, for CLI, API and UI alike."""

import math
import re
from typing import Annotated

from pydantic import BeforeValidator, Field

_FRACTION = re.compile(r"\s*([0-9.]+)\s*/\s*([0-9.]+)\s*")


def fraction(value: object) -> object:
    """'4/255' and '0.5/255' as numbers; anything else unchanged, for pydantic to judge."""
    if isinstance(value, str):
        match = _FRACTION.fullmatch(value)
        try:
            number = float(match[1]) / float(match[2]) if match else float(value)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"expected a number in [0, 1] or a fraction such as 4/255, got {value!r}") from None
        return number
    return value


def show_fraction(eps: float) -> str:
    """4/255 for 0.0156…, 0.5/255 for 0.00196…, else the number: how a budget is written everywhere."""
    scaled = eps * 255
    return f"{round(scaled, 3):g}/255" if math.isclose(scaled, round(scaled, 3), abs_tol=1e-9) else f"{eps:g}"


Fraction = BeforeValidator(fraction)
Epsilon = Annotated[
    float, Fraction, Field(gt=0, le=1, description="Perturbation budget in [0, 1] pixel units, or n/255.")
]
L2Epsilon = Annotated[float, Fraction, Field(gt=0, le=1000, description="L2 budget per image, in [0, 1] pixel units.")]
Steps = Annotated[int, Field(ge=1, le=1000, description="Number of gradient steps.")]
Decay = Annotated[float, Field(ge=0, le=2, description="Momentum decay; 0 forgets every step.")]
Copies = Annotated[int, Field(ge=1, le=128, description="Random views averaged per step.")]
Restarts = Annotated[int, Field(ge=1, le=100, description="Random starts; the worst per image is kept.")]
Unit = Annotated[float, Field(ge=0, le=1)]
