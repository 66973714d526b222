# SPDX-License-Identifier: Apache-2.0
"""A random look as a defence: tones, exposure and large-scale brightness vary, the anatomy stays.

The tone curves are those of the acquisition styles of the transfer attack STM, so an attacker knows them. Amplitudes of
the lowest frequencies as the part of an image that is style: Yang & Soatto, "FDA", CVPR 2020.
"""

from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from radproof.attacks.transfer.styles import WINDOW, apply_curve, random_curve
from radproof.core.types import Backward, Defense
from radproof.defenses.checks import require_images
from radproof.defenses.draws import generators
from radproof.defenses.registry import Votes, defense

_AMPLITUDE, _EXPOSURE = 0.4, 0.2  # standard deviations of the logarithms, at strength 1

Strength = Annotated[float, Field(gt=0, le=1, description="How far a look may be from the image's own.")]


@dataclass(frozen=True)
class StyleRandomisation:
    """A random tone curve in a random share up to `strength`, then random amplitudes of the lowest frequencies.

    The mean brightness is the lowest of them: exposure. Channels share one look. Costs two Fourier transforms.
    """

    strength: Strength = 0.5
    votes: Votes = 8
    deterministic: bool = field(default=False, init=False)
    differentiable: bool = field(default=True, init=False)
    ways: tuple[Backward, ...] = field(default=("twin",), init=False)

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor:
        """(N, C, H, W) in [0, 1] -> the same, restyled. Raises BadInput for what is no image."""
        with torch.no_grad():
            return self.surrogate(x.detach(), rng=rng)

    def surrogate(self, x: Tensor, *, rng: Generator) -> Tensor:
        """The same looks, with a gradient."""
        require_images(x.detach())
        if not len(x):
            return x.clone()
        exact = x if x.element_size() >= 4 else x.float()
        looks = [self._look(exact.detach()[:1], own) for own in generators(rng, len(x))]
        curve, share, gains = (torch.cat(parts).to(x.device) for parts in zip(*looks, strict=True))
        spectrum = torch.fft.rfft2(apply_curve(exact, curve, share)) * gains
        return torch.fft.irfft2(spectrum, s=x.shape[2:]).clamp(0, 1).to(x.dtype)

    def _look(self, like: Tensor, rng: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """For one image: tone curve (1, C, TABLE), its share (1,), gain of every frequency (1, 1, H, W // 2 + 1)."""
        blank = torch.empty(like.shape, dtype=like.dtype, device=rng.device)
        share = self.strength * torch.rand(1, generator=rng, dtype=like.dtype, device=rng.device)
        return random_curve(blank, rng), share, self._gains(blank, rng)

    def _gains(self, like: Tensor, rng: Generator) -> Tensor:
        """1 but for the lowest frequencies, and alike for each and its mirror image, so that the answer is real."""
        height, width = like.shape[2:]
        reach = min(max(1, round(WINDOW * min(height, width))), (min(height, width) - 1) // 2)
        drawn = torch.randn(2 * reach + 1, reach + 1, generator=rng, dtype=like.dtype, device=rng.device)
        drawn[reach + 1 :, 0] = drawn[1 : reach + 1, 0].flip(0)
        spread = torch.full_like(drawn, _AMPLITUDE)
        spread[0, 0] = _EXPOSURE
        gains = like.new_ones(1, 1, height, width // 2 + 1)
        rows = torch.cat([torch.arange(reach + 1), torch.arange(-reach, 0)]).to(rng.device)
        gains[:, :, rows, : reach + 1] = torch.exp(self.strength * spread * drawn)
        return gains


@defense(
    title="Style randomisation",
    paper="Yang & Soatto, CVPR 2020 (the amplitudes)",
    presets={"quick": {"votes": 4}, "published": {"votes": 8}, "exhaustive": {"votes": 16}},
)
def style(strength: Strength = 0.5, votes: Votes = 8) -> Defense:
    """Give the image a random tone curve, exposure and large-scale brightness; average over draws."""
    return StyleRandomisation(strength, votes)
