# SPDX-License-Identifier: Apache-2.0
"""What honestly happens to images between the detector panel, the archive and the reader: nothing to be alarmed by."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from radproof.core.depth import EIGHT, Depth
from radproof.core.rng import generator
from radproof.defenses.jpeg import Jpeg

WINDOW = 0.05  # share of the grey scale cut off at either end
SHRINK = 0.75  # of the sides
GAMMA = 0.85  # brighter, as after a higher dose or another look-up table
NOISE = 1 / 255  # standard deviation: one grey level of 8 bits


@dataclass(frozen=True)
class Handling:
    """One thing that happens to images (N, C, H, W) in [0, 1], stored on some grid; each by itself."""

    name: str
    title: str
    apply: Callable[[Tensor, Depth], Tensor]  # rounded to the levels that it is stored in afterwards


def handlings(depth: Depth) -> tuple[Handling, ...]:
    """What images of at most this depth are put through."""
    always = (
        Handling("jpeg-90", "JPEG, quality 90", lambda x, _: _jpeg(x, 90)),
        Handling("jpeg-75", "JPEG, quality 75", lambda x, _: _jpeg(x, 75)),
        Handling("jpeg2000-10", "JPEG 2000, a tenth of the bytes", lambda x, depth: jpeg2000(x, depth, 10)),
        Handling("rewindow", "window narrowed by 5 % at either end", rewindow),
        Handling("resize", "resized to 75 % and back", resized),
    )
    if depth.top <= EIGHT.top:
        return always
    return (*always, Handling("8-bit", "exported with 8 bits", lambda x, _: _rounded(x, EIGHT)))


def benign(depth: Depth) -> tuple[Handling, ...]:
    """What must not raise an alarm: all handlings, another exposure, and the noise of one grey level."""
    return (
        *handlings(depth),
        Handling("exposure", f"brighter, gamma {GAMMA:g}", exposure),
        Handling("noise", "Gaussian noise of one grey level of 8 bits", noise),
    )


def jpeg2000(x: Tensor, depth: Depth, ratio: float) -> Tensor:
    """Through the JPEG 2000 codec (OpenJPEG) with the irreversible wavelet, at 1/ratio of the raw bytes."""
    if not len(x):
        return x
    top = min(depth.top, EIGHT.top) if x.shape[1] == 3 else depth.top
    levels = (x.detach() * top).round().clamp(0, top).permute(0, 2, 3, 1).cpu().numpy()
    stored = levels.astype(np.uint8 if top <= EIGHT.top else np.uint16)
    read = [torch.from_numpy(_codec(image, ratio).astype(np.float32)) for image in stored]
    return (torch.stack(read).permute(0, 3, 1, 2) / top).clamp(max=1).contiguous().to(x)


def rewindow(x: Tensor, depth: Depth) -> Tensor:
    """The window narrowed, as a viewer does: what lies outside becomes black or white."""
    return _rounded(((x - WINDOW) / (1 - 2 * WINDOW)).clamp(0, 1), depth)


def resized(x: Tensor, depth: Depth) -> Tensor:
    """Smaller and back to its size, as for a web viewer or a slide."""
    height, width = x.shape[2:]
    small = F.interpolate(
        x, size=(max(1, round(SHRINK * height)), max(1, round(SHRINK * width))), mode="bilinear", antialias=True
    )
    return _rounded(F.interpolate(small, size=(height, width), mode="bilinear").clamp(0, 1), depth)


def exposure(x: Tensor, depth: Depth) -> Tensor:
    """Another exposure: the grey scale bent, black and white staying."""
    return _rounded(x.clamp(0, 1) ** GAMMA, depth)


def noise(x: Tensor, depth: Depth) -> Tensor:
    """A grainier image, grey grain. It is drawn from the image's own levels, so it repeats and knows no neighbours."""
    if not len(x):
        return x
    grain = torch.stack([_grain(image) for image in x])[:, None]
    return _rounded((x + NOISE * grain).clamp(0, 1), depth)


def _grain(image: Tensor) -> Tensor:
    levels = (image.detach() * 65535).round().to(torch.int32).cpu().contiguous().numpy().tobytes()
    rng = generator("benign noise", tuple(image.shape), hashlib.sha256(levels).hexdigest())
    return torch.randn(image.shape[1:], generator=rng).to(image)


def _jpeg(x: Tensor, quality: int) -> Tensor:
    return Jpeg(quality)(x, rng=torch.Generator())


def _rounded(x: Tensor, depth: Depth) -> Tensor:
    return (x * depth.top).round() / depth.top


def _codec(image: NDArray[np.uint8 | np.uint16], ratio: float) -> NDArray[np.uint8 | np.uint16]:
    stream = BytesIO()
    grey = image.shape[2] == 1
    levels = max(1, min(6, int(math.log2(min(image.shape[:2])))))
    Image.fromarray(image[..., 0] if grey else image).save(
        stream, "JPEG2000", quality_mode="rates", quality_layers=[ratio], irreversible=True, num_resolutions=levels
    )
    with Image.open(stream, formats=["JPEG2000"]) as decoded:
        return np.array(decoded).reshape(image.shape)
