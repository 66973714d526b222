# SPDX-License-Identifier: Apache-2.0
"""Where things are on the film: the patient turned, the stripes of a grid, a lead letter in a corner."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from radproof.attacks.corruptions.graded import MODERATE, EachImage, Severity, at, either, uniform
from radproof.attacks.registry import Corruption, corruption

PERIODS = 3.0, 6.0  # of the stripes, in pixels
TILT = math.radians(2)
MARGIN = 0.03  # between a letter and the rim, as a share of the shorter side
LETTERS = (
    ("#....", "#....", "#....", "#....", "#....", "#....", "#####"),
    ("####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"),
)  # L and R


@dataclass(frozen=True)
class Turned:
    """Turned about the middle; the corners are black, as behind a collimator."""

    degrees: float

    def __call__(self, image: Tensor, rng: Generator) -> Tensor:
        """Left or right by a coin's choice."""
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2.functional import rotate

        return rotate(image, either(rng) * self.degrees, interpolation=InterpolationMode.BILINEAR)


@dataclass(frozen=True)
class Stripes:
    """Lines of an anti-scatter grid that does not move: a wave across the image, upright or lying, slightly tilted."""

    amplitude: float

    def __call__(self, image: Tensor, rng: Generator) -> Tensor:
        """Absorption multiplies, so in the logarithmic grey scale the wave is added."""
        period, phase, tilt = uniform(rng, *PERIODS), uniform(rng, 0, 2 * math.pi), uniform(rng, -TILT, TILT)
        turn = tilt + (math.pi / 2 if either(rng) < 0 else 0.0)
        rows, columns = (torch.arange(side, dtype=torch.float64) for side in image.shape[1:])
        along = columns * math.cos(turn) + rows[:, None] * math.sin(turn)
        return image + (self.amplitude * torch.sin(2 * math.pi * along / period + phase)).to(image)


@dataclass(frozen=True)
class Letter:
    """A lead L or R in one of the corners: white, on whatever lies behind."""

    height: float

    def __call__(self, image: Tensor, rng: Generator) -> Tensor:
        """Which letter and which corner are random."""
        shape = torch.tensor([[float(dot == "#") for dot in row] for row in LETTERS[either(rng) < 0]])
        side = min(image.shape[1:])
        high = max(3, round(self.height * side))
        wide = max(2, round(high * 5 / 7))
        lead = F.interpolate(shape[None, None], size=[high, wide], mode="bilinear", antialias=True)[0].to(image)
        margin = round(MARGIN * side)
        top = margin if either(rng) > 0 else image.shape[1] - margin - high
        left = margin if either(rng) > 0 else image.shape[2] - margin - wide
        out = image.clone()
        behind = out[:, top : top + high, left : left + wide]
        out[:, top : top + high, left : left + wide] = torch.maximum(behind, lead)
        return out


@corruption(title="Rotation", paper="arXiv:1903.12261", threat="visible")
def rotation(severity: Severity = MODERATE) -> Corruption:
    """The patient stood askew: the image turned a few degrees."""
    (degrees,) = at("rotation", severity)
    return EachImage(Turned(degrees))


@corruption(title="Grid lines", paper="", threat="visible")
def gridlines(severity: Severity = MODERATE) -> Corruption:
    """Stripes of an anti-scatter grid that stood still."""
    (amplitude,) = at("gridlines", severity)
    return EachImage(Stripes(amplitude))


@corruption(title="Marker", paper="", threat="visible")
def marker(severity: Severity = MODERATE) -> Corruption:
    """A lead letter, L or R, laid on the cassette in one corner."""
    (height,) = at("marker", severity)
    return EachImage(Letter(height))
