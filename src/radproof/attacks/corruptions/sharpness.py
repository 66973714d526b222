# SPDX-License-Identifier: Apache-2.0
"""Detail that is lost: blur, a small copy, a hard compression."""

import math
from dataclasses import dataclass
from io import BytesIO
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import Field
from torch import Generator, Tensor

from radproof.attacks.corruptions.graded import MODERATE, EachImage, Severity, at, uniform
from radproof.attacks.registry import Corruption, corruption

Kind = Literal["focal", "motion"]
PATH = 15  # points on the way of a moving patient


@dataclass(frozen=True)
class Focal:
    """A Gaussian, as of a broad focal spot; `spread` is its standard deviation."""

    spread: float

    def __call__(self, image: Tensor, rng: Generator) -> Tensor:
        """The rim is mirrored."""
        from torchvision.transforms.v2.functional import gaussian_blur

        sigma = self.spread * min(image.shape[1:])
        size = 2 * max(1, math.ceil(3 * sigma)) + 1
        return gaussian_blur(image, [size, size], [sigma, sigma])


@dataclass(frozen=True)
class Motion:
    """A straight move during the exposure, in any direction; its length has the spread of a Gaussian."""

    spread: float

    def __call__(self, image: Tensor, rng: Generator) -> Tensor:
        """The rim takes the nearest pixel."""
        height, width = image.shape[1:]
        length = math.sqrt(12) * self.spread * min(height, width)  # a box of length L has deviation L / sqrt(12)
        angle = uniform(rng, 0, math.pi)
        steps = torch.linspace(-0.5, 0.5, PATH, dtype=torch.float64).to(image) * length
        shifts = torch.stack([steps * math.cos(angle) * 2 / width, steps * math.sin(angle) * 2 / height], dim=1)
        still = F.affine_grid(torch.eye(2, 3).to(image)[None], [1, *image.shape], align_corners=False)
        where = still + shifts[:, None, None]
        moved = F.grid_sample(image.expand(PATH, -1, -1, -1), where, padding_mode="border", align_corners=False)
        return moved.mean(0)


@dataclass(frozen=True)
class Resized:
    """A smaller copy, brought back to size."""

    scale: float

    def __call__(self, image: Tensor, rng: Generator) -> Tensor:
        """Bilinear, without aliasing on the way down."""
        sides = list(image.shape[1:])
        small = F.interpolate(
            image[None], size=[max(1, round(self.scale * side)) for side in sides], mode="bilinear", antialias=True
        )
        return F.interpolate(small, size=sides, mode="bilinear")[0]


@dataclass(frozen=True)
class Compressed:
    """Through the JPEG codec; eight bits, colour at half the resolution."""

    quality: int

    def __call__(self, image: Tensor, rng: Generator) -> Tensor:
        """Grey stays grey."""
        levels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        stream = BytesIO()
        Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels).save(
            stream, "JPEG", quality=self.quality, subsampling="4:2:0"
        )
        with Image.open(stream, formats=["JPEG"]) as decoded:
            read = np.array(decoded).reshape(levels.shape)
        return torch.from_numpy(read).permute(2, 0, 1).to(image) / 255


@corruption(title="Blur", paper="arXiv:1903.12261", threat="visible", variant="kind")
def blur(
    severity: Severity = MODERATE,
    kind: Annotated[Kind, Field(description="focal: a broad focal spot; motion: the patient moved.")] = "focal",
) -> Corruption:
    """An unsharp image: a broad focal spot, or a patient who moved in a random direction."""
    (spread,) = at("blur", severity)
    return EachImage(Focal(spread) if kind == "focal" else Motion(spread))


@corruption(title="Resize", paper="arXiv:1903.12261", threat="visible")
def resize(severity: Severity = MODERATE) -> Corruption:
    """Scaled down and up again, as by a viewer, a slide or a phone."""
    (scale,) = at("resize", severity)
    return EachImage(Resized(scale))


@corruption(title="JPEG artefacts", paper="arXiv:1903.12261", threat="visible")
def jpeg_artefacts(severity: Severity = MODERATE) -> Corruption:
    """Compressed until blocks show."""
    (quality,) = at("jpeg_artefacts", severity)
    return EachImage(Compressed(int(quality)))
