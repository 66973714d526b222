# SPDX-License-Identifier: Apache-2.0
"""Corruptions of radiographs in five grades, and the one table of what each grade is.

Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019,
with the mishaps of a radiograph's life in the place of snow and fog.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Generator, Tensor

from radproof.attacks.queries.streams import Streams
from radproof.errors import BadInput

Severity = Annotated[int, Field(ge=1, le=5, description="Grade from 1 (slight) to 5 (gross); see corruptions.md.")]
MODERATE = 3
SMALLEST = 8  # pixels of the shorter side
Rule = Callable[[Tensor, Generator], Tensor]
"""One image (C, H, W) in [0, 1] and its own random numbers -> the same image spoilt."""


class Dial(NamedTuple):
    """What grows with the severity."""

    name: str
    meaning: str
    values: tuple[float, float, float, float, float]


TABLE: dict[str, tuple[Dial, ...]] = {
    "quantum_noise": (Dial("photons", "photons per pixel behind air", (2000, 1000, 500, 250, 125)),),
    "under_exposure": (Dial("dose", "dose, as a share of the right one", (0.9, 0.8, 0.68, 0.54, 0.4)),),
    "over_exposure": (Dial("dose", "dose, as a multiple of the right one", (1.15, 1.4, 1.8, 2.4, 3.2)),),
    "blur": (Dial("spread", "spread, as a share of the shorter side", (0.004, 0.008, 0.013, 0.02, 0.03)),),
    "resize": (Dial("scale", "side of the small copy, as a share of the image's", (0.7, 0.5, 0.35, 0.25, 0.17)),),
    "jpeg_artefacts": (Dial("quality", "JPEG quality", (45, 28, 18, 10, 6)),),
    "window_level": (
        Dial("width", "window width, as a share of the grey scale", (0.92, 0.84, 0.74, 0.62, 0.5)),
        Dial("level", "shift of the window's centre up or down", (0.02, 0.04, 0.07, 0.1, 0.14)),
    ),
    "gamma": (Dial("exponent", "exponent, or one over it", (1.2, 1.45, 1.8, 2.3, 3)),),
    "rotation": (Dial("degrees", "degrees to the left or right", (2, 4, 7, 11, 16)),),
    "gridlines": (Dial("amplitude", "amplitude of the stripes in grey", (0.015, 0.03, 0.055, 0.09, 0.14)),),
    "marker": (Dial("height", "height of the letter, as a share of the shorter side", (0.07, 0.1, 0.14, 0.19, 0.26)),),
}


def at(name: str, severity: int) -> tuple[float, ...]:
    """What the dials of a corruption stand at."""
    return tuple(dial.values[severity - 1] for dial in TABLE[name])


@dataclass(frozen=True)
class EachImage:
    """A rule applied to every image by itself, with random numbers of its own: batch mates change nothing."""

    rule: Rule

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor:
        """Images (N, C, H, W) in [0, 1], as many as given. Raises BadInput for a side under 8 pixels."""
        if min(x.shape[2:]) < SMALLEST:
            raise BadInput(
                f"corruptions need images of at least {SMALLEST}x{SMALLEST} pixels; got {x.shape[2]}x{x.shape[3]}"
            )
        if not len(x):
            return x.clone()
        streams = Streams(rng, len(x)).of(torch.arange(len(x)))
        there = x.detach().to(rng.device)
        spoilt = [self.rule(image, stream) for image, stream in zip(there, streams, strict=True)]
        return torch.stack(spoilt).clamp(0, 1).to(x)


def uniform(rng: Generator, low: float = 0.0, high: float = 1.0) -> float:
    """One number from U(low, high)."""
    return low + (high - low) * float(torch.rand((), generator=rng, device=rng.device))


def either(rng: Generator) -> float:
    """1 or -1, as a coin falls."""
    return 1.0 if uniform(rng) < 0.5 else -1.0
