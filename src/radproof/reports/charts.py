# SPDX-License-Identifier: Apache-2.0
"""A chart's parts and scales; the template draws them as SVG.

A chart is 340 x 230 units and drawn at its own size on a telephone as on a desk, so that text is never scaled. Lines
differ by colour, dash and marker, because colour alone is lost on some readers and on paper.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from radproof.core.records import Estimate

LEFT, RIGHT, TOP, BOTTOM = 44, 322, 24, 186
TONES = ("#1d57b8", "#b04c00", "#00705a", "#87367f", "#556070")  # on light screens and paper; style.css has the dark
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2")
SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-3.5-3.5h7v7h-7z",
    "M0-4.5L4.5 3.5h-9z",
    "M0-5L5 0L0 5L-5 0z",
    "M-4-1.5h8v3h-8z",
)
MOST = len(TONES)  # lines of a chart that can be told apart

Point = tuple[float, float]
Scale = Callable[[float], float]


@dataclass(frozen=True)
class Mark:
    """A measured point with its interval."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Series:
    """One line."""

    name: str
    tone: int
    path: str  # of an SVG path
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Chart:
    """One chart, ready to draw."""

    title: str
    alt: str
    x_label: str
    y_label: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    series: tuple[Series, ...]
    guides: tuple[str, ...] = ()  # paths of thin helping lines


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """low…high onto start…end."""
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def marks(measured: Sequence[tuple[float, Estimate]], x: Scale, y: Scale) -> tuple[Mark, ...]:
    """Measured points with their intervals; what was not measured is left out."""
    return tuple(
        Mark(tidy(x(at)), tidy(y(e.value)), tidy(y(e.low)), tidy(y(e.high)))
        for at, e in measured
        if e.value is not None and e.low is not None and e.high is not None
    )


def polyline(points: Sequence[Point]) -> str:
    """An SVG path through points."""
    return "M" + "L".join(f"{tidy(px):g} {tidy(py):g}" for px, py in points) if points else ""


def percent_ticks(y: Scale) -> tuple[tuple[float, str], ...]:
    """0 % to 100 % in quarters."""
    return tuple((tidy(y(share)), f"{100 * share:.0f} %") for share in (0, 0.25, 0.5, 0.75, 1))


def number_ticks(top: float, y: Scale) -> tuple[tuple[float, str], ...]:
    """0 to top in quarters."""
    return tuple((tidy(y(top * k / 4)), f"{top * k / 4:.3g}") for k in range(5))


def nice(top: float) -> float:
    """The next of 1, 2, 4, 5, 8, 10 times a power of ten."""
    power = 10 ** math.floor(math.log10(max(top, 1e-9)))
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= top)


def tidy(value: float) -> float:
    """A tenth of a unit is finer than any screen."""
    return round(value, 1)
