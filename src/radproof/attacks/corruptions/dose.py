# SPDX-License-Identifier: Apache-2.0
"""Too little and too much radiation: what the detector counts, and what the viewer makes of it.

White is dense. A pixel of grey x lets exp(-RANGE x) of the photons through; the detector turns each into GAIN counts
and adds READ counts of its own noise; the viewer shows the logarithm. So noise is strongest where the body is dense.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from radproof.attacks.corruptions.graded import MODERATE, EachImage, Severity, at
from radproof.attacks.registry import Corruption, corruption

RANGE = 3.0  # black to white, in natural logarithms of exposure
PHOTONS = 2000.0  # per pixel behind air at the right dose
GAIN = 4.0  # counts per photon
READ = 8.0  # counts, standard deviation


@dataclass(frozen=True)
class Exposed:
    """An image taken again with so many photons, and shown as if they had been `shown_as`."""

    photons: float
    shown_as: float

    def __call__(self, image: Tensor, rng: Generator) -> Tensor:
        """Colour channels share one noise: a detector has one."""
        grey = image.double().mean(0, keepdim=True)
        expected = self.photons * torch.exp(-RANGE * grey)
        read = torch.randn(grey.shape, generator=rng, device=rng.device, dtype=torch.float64) * READ
        counts = (GAIN * torch.poisson(expected, generator=rng) + read).clamp(min=GAIN)
        seen = -torch.log(counts / (GAIN * self.shown_as)) / RANGE
        return (image + (seen - grey)).to(image.dtype)


@dataclass(frozen=True)
class Saturated:
    """So many times the right dose: all darker, and black where the detector is full."""

    dose: float

    def __call__(self, image: Tensor, rng: Generator) -> Tensor:
        """The detector is full at what air lets through at the right dose."""
        return image - math.log(self.dose) / RANGE


@corruption(title="Quantum noise", paper="", threat="visible")
def quantum_noise(severity: Severity = MODERATE) -> Corruption:
    """Photons are counted, so few of them are a grainy image: Poisson noise, detector gain, electronic noise."""
    (photons,) = at("quantum_noise", severity)
    return EachImage(Exposed(photons, photons))


@corruption(title="Under-exposure", paper="", threat="visible")
def under_exposure(severity: Severity = MODERATE) -> Corruption:
    """Too little dose, and no one corrected the window: whiter, the densest parts lost, and noisier."""
    (dose,) = at("under_exposure", severity)
    return EachImage(Exposed(dose * PHOTONS, PHOTONS))


@corruption(title="Over-exposure", paper="", threat="visible")
def over_exposure(severity: Severity = MODERATE) -> Corruption:
    """Too much dose, and no one corrected the window: darker, with the lungs burnt out where the detector is full."""
    (dose,) = at("over_exposure", severity)
    return EachImage(Saturated(dose))
