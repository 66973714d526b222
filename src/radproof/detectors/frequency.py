# SPDX-License-Identifier: Apache-2.0
"""Is the finest grain of the image what this house's images have? Needs no network, and no example of an attack.

Attack and defence of a grey level are as old as steganography: the statistics are steganalysis's (Fridrich & Kodovsky,
IEEE TIFS 2012), the noise level is the wavelets' (Donoho, IEEE TIT 1995).
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from radproof.detectors import cooccurrence, residuals, wavelets
from radproof.detectors.look import Look
from radproof.detectors.one_class import OneClass
from radproof.detectors.registry import Learner, detector

TOP = 255.0  # grey levels of eight bits, in which all of it is told
_PIECE = 1  # images measured at a time: what fits near the processor


@dataclass(frozen=True)
class Grain:
    """The finest grain in numbers. Implements one_class.Measure; the model is not asked."""

    words: tuple[str, ...] = field(
        default=(*residuals.WORDS, *cooccurrence.WORDS, *wavelets.WAVELET_WORDS, *wavelets.COSINE_WORDS), init=False
    )

    def __call__(self, look: Look) -> Tensor:
        """(N, F), mean over the channels; the same arithmetic for a soft look, which has a gradient in every pixel."""
        x = look.x if look.soft else _without_copies(look.x)
        return torch.cat([_statistics(part) for part in x.split(_PIECE)])


def _without_copies(x: Tensor) -> Tensor:
    """One channel where all are equal: it tells what three would."""
    return x[:, :1] if bool((x == x[:, :1]).all()) else x


def _statistics(x: Tensor) -> Tensor:
    levels = (x.float() * TOP).flatten(0, 1)
    found = residuals.Differences(levels)
    parts = [
        residuals.residual_statistics(found),
        cooccurrence.pair_statistics(found),
        wavelets.wavelet_statistics(levels),
        wavelets.cosine_statistics(levels),
    ]
    return torch.cat(parts, dim=1).unflatten(0, (len(x), -1)).mean(1)


@detector(title="High-frequency residuals", paper="Fridrich & Kodovsky, 2012; Donoho, 1995")
def frequency() -> Learner:
    """How unusual the finest grain of the image is: residuals, pairs of small differences, wavelets, cosine bands."""
    return OneClass(Grain())
