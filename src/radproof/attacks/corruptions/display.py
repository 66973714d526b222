# SPDX-License-Identifier: Apache-2.0
"""The grey scale shown otherwise: another window, another curve."""

from dataclasses import dataclass

from torch import Generator, Tensor

from radproof.attacks.corruptions.graded import MODERATE, EachImage, Severity, at, either
from radproof.attacks.registry import Corruption, corruption


@dataclass(frozen=True)
class Window:
    """A narrower window, its centre moved up or down; what lies outside becomes black or white."""

    width: float
    level: float

    def __call__(self, image: Tensor, rng: Generator) -> Tensor:
        """Which way is a coin's choice."""
        centre = 0.5 + either(rng) * self.level
        return ((image - centre) / self.width + 0.5).clamp(0, 1)


@dataclass(frozen=True)
class Curve:
    """x to a power, or to one over it."""

    exponent: float

    def __call__(self, image: Tensor, rng: Generator) -> Tensor:
        """Darker or brighter by a coin's choice."""
        return image ** (self.exponent ** either(rng))


@corruption(title="Window and level", paper="", threat="visible")
def window_level(severity: Severity = MODERATE) -> Corruption:
    """Exported with another window: harder contrast, and the ends of the grey scale cut off."""
    return EachImage(Window(*at("window_level", severity)))


@corruption(title="Gamma", paper="", threat="visible")
def gamma(severity: Severity = MODERATE) -> Corruption:
    """Another curve from stored to shown grey: all mid tones darker, or all brighter."""
    return EachImage(Curve(*at("gamma", severity)))
