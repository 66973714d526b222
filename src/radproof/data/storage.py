# SPDX-License-Identifier: Apache-2.0
"""What counts is what is stored: adversarial images are rounded to the file's grid and projected back in integers.

Rounding alone leaves the ball, and truncation (`* 255`, then uint8) shifts the mean by half a grey level; both have
made published numbers wrong. So a perturbation is judged after it was written to a lossless file and read back.
"""

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from radproof.core.depth import EIGHT, SIXTEEN, Depth
from radproof.core.files import atomic
from radproof.core.params import show_fraction
from radproof.data.images import read_image
from radproof.errors import BadImage, BadInput, BadPlan

Norm = Literal["linf", "l2", "visible"]
_SLACK = 1e-6  # grey levels squared: a length that is the budget, whatever binary fractions say


def check_budget(eps: float, depth: Depth) -> None:
    """Refuse a budget below one grey level of the stored depth: nothing of it would survive in the file."""
    if depth.levels(eps) >= 1:
        return
    plain = depth.top in (EIGHT.top, SIXTEEN.top)
    what = f"grey level of {depth.bits}-bit images" if plain else f"of this image's {depth.top + 1} grey levels"
    finer = ", or use images stored with 16 bits" if depth.top == EIGHT.top and SIXTEEN.levels(eps) >= 1 else ""
    raise BadPlan(
        f"a budget of {show_fraction(eps)} is below one {what}, so no stored image can hold it; "
        f"the smallest usable budget is 1/{depth.top} ({1 / depth.top:.3g}): raise the budget{finer}"
    )


def quantise(adversarial: Tensor, original: Tensor, *, eps: float, norm: Norm, depth: Depth) -> Tensor:
    """The grey levels (N, C, H, W) int32 that are stored for adversarial images, inside the budget in integers.

    Both images are floats in [0, 1]. linf: round, then clamp to E = `depth.levels(eps)` around the stored original.
    l2: round; where the whole-number perturbation of an image exceeds the budget, its components are cut towards the
    original instead, which always fits. visible: round only. Where the depth is held, pixels that are black or white in
    the original stay so, whatever the norm. Raises BadInput for NaN or unequal shapes.
    """
    if adversarial.shape != original.shape:
        raise BadInput(f"adversarial {tuple(adversarial.shape)} and original {tuple(original.shape)} differ in shape")
    if not bool(torch.isfinite(adversarial).all()):
        raise BadInput("the adversarial images hold NaN or infinity; the attack that made them is at fault")
    if norm not in get_args(Norm):
        raise BadInput(f"norm must be one of {', '.join(get_args(Norm))}; got {norm!r}")
    top = depth.top
    wanted = adversarial.double().clamp(0, 1) * top
    clean = (original.double().clamp(0, 1) * top).round()
    if depth.held:
        wanted = torch.where((clean == 0) | (clean == top), clean, wanted)
    if norm == "linf":
        reach = depth.levels(eps)
        stored = torch.minimum(torch.maximum(wanted.round(), clean - reach), clean + reach)
    elif norm == "l2":
        stored = clean + _whole_within(wanted - clean, eps * top)
    else:
        stored = wanted.round()
    return stored.clamp(0, top).to(torch.int32)


def to_unit_tensor(stored: Tensor, depth: Depth) -> Tensor:
    """Grey levels as float32 in [0, 1], the same floats as `images.to_unit` gives."""
    return stored.to(torch.float32) / depth.top


def write_png(path: Path, pixels: Tensor | NDArray[np.integer], depth: Depth) -> None:
    """Write grey levels (C, H, W) without loss, whole or not at all: 8- or 16-bit grey, 8-bit RGB.

    Equal pixels give equal bytes. Raises BadInput for another container (JPEG changes what was measured), for 16-bit
    RGB, which PNG readers quietly cut to 8 bits, and for values outside 0..top.
    """
    if path.suffix.lower() != ".png":
        raise BadInput(f"images are stored as .png, without loss; {path.suffix or 'no suffix'} would change the pixels")
    values = np.asarray(pixels)
    if values.ndim != 3 or values.shape[0] not in (1, 3) or values.size == 0:
        raise BadInput(f"pixels must be (1 or 3, H, W); got {values.shape}")
    if values.shape[0] == 3 and depth.bits == 16:
        raise BadInput("16-bit colour cannot be stored without loss; store 8-bit RGB or 16-bit grey")
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > depth.top:
        raise BadInput(f"pixels must be whole numbers in 0..{depth.top} for {depth}; got {values.dtype}")
    grid = values.transpose(1, 2, 0).astype(np.uint8 if depth.bits == 8 else np.uint16)
    image = Image.fromarray(np.ascontiguousarray(grid[:, :, 0] if grid.shape[2] == 1 else grid))
    with atomic(path) as temporary:
        image.save(temporary, format="PNG", compress_level=6)


def read_png(path: Path, depth: Depth, *, channels: int | None = None) -> Tensor:
    """The grey levels (C, H, W) int32 that `write_png` wrote.

    RGB whose channels agree reads as one channel, as everywhere; `channels=3` repeats it to give the shape written.
    Raises BadImage for a grey level that the depth has not.
    """
    grid = read_image(path).pixels.transpose(2, 0, 1).astype(np.int32)
    if grid.max() > depth.top:
        raise BadImage(f"a stored image holds the grey level {grid.max()}, and its levels end at {depth.top}")
    stored = torch.from_numpy(np.ascontiguousarray(grid))
    return stored if channels is None else stored.expand(channels, -1, -1)


def _whole_within(delta: Tensor, budget: float) -> Tensor:
    """A whole-number perturbation near `delta` (grey levels) whose L2 norm per image is at most `budget`."""
    norm = delta.flatten(1).norm(dim=1).clamp_min(1e-12)
    delta = delta * (budget / norm).clamp(max=1).view(-1, 1, 1, 1)
    rounded = delta.round()
    fits = rounded.flatten(1).square().sum(1) <= budget**2 + _SLACK
    return torch.where(fits.view(-1, 1, 1, 1), rounded, delta.trunc())


def quantise_step(depth: Depth) -> dict[str, Any]:
    """How rounding to a depth is told in a chain: by its bits where it is the whole range of a file."""
    if depth in (EIGHT, SIXTEEN):
        return {"step": "quantise", "bits": depth.bits}
    return {"step": "quantise", "top": depth.top, "held": depth.held}
