# SPDX-License-Identifier: Apache-2.0
"""JPEG compression as a defence: it rounds away what the eye does not see, and much of what an attacker adds.

Dziugaite et al., "A study of the effect of JPG compression on adversarial images", 2016; Das et al., 2017; Guo et al.,
"Countering Adversarial Images using Input Transformations", ICLR 2018 (quality 75).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Generator, Tensor

from radproof.core.types import Backward, Defense
from radproof.defenses.checks import require_images
from radproof.defenses.jpeg_twin import jpeg_twin
from radproof.defenses.registry import Quality, Subsampling, defense

_WORTH_THREADS = 4  # images; a pool costs more than it saves below


@dataclass(frozen=True)
class Jpeg:
    """The real codec (Pillow), image by image in memory; one channel as grey, three as YCbCr.

    The codec knows 8 bits only: pixels are rounded (not cut) to the 256 grey levels first, whatever depth they had.
    """

    quality: Quality = 75
    subsampling: Subsampling = "4:2:0"
    deterministic: bool = field(default=True, init=False)
    differentiable: bool = field(default=False, init=False)
    ways: tuple[Backward, ...] = field(default=("identity", "twin"), init=False)
    votes: int = field(default=1, init=False)

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor:
        """(N, C, H, W) in [0, 1] -> the same through the codec. Raises BadInput for what is no image."""
        require_images(x)
        levels = (x.detach() * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        decoded = [torch.from_numpy(image) for image in _map(self._round_trip, list(levels))]
        if not decoded:
            return x.detach().clone()
        return torch.stack(decoded).permute(0, 3, 1, 2).contiguous().to(x.device, x.dtype) / 255

    def surrogate(self, x: Tensor, *, rng: Generator) -> Tensor:
        """The codec in torch arithmetic, with a gradient; grey images within a level or so of the real one."""
        require_images(x.detach())
        return jpeg_twin(x, self.quality, self.subsampling)

    def _round_trip(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        stream = BytesIO()
        grey = image.shape[2] == 1
        options: dict[str, Any] = {} if grey else {"subsampling": self.subsampling}
        Image.fromarray(image[..., 0] if grey else image).save(stream, "JPEG", quality=self.quality, **options)
        with Image.open(stream, formats=["JPEG"]) as decoded:
            return np.array(decoded).reshape(image.shape)


def _map(work: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], images: list[Any]) -> list[NDArray[np.uint8]]:
    """In order, over as many threads as torch may use: the codec leaves Python's lock."""
    workers = min(len(images), torch.get_num_threads())
    if workers < 2 or len(images) < _WORTH_THREADS:
        return [work(image) for image in images]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, images))


@defense(title="JPEG compression", paper="Dziugaite et al., 2016; Guo et al., ICLR 2018")
def jpeg(quality: Quality = 75, subsampling: Subsampling = "4:2:0") -> Defense:
    """Each image through the JPEG codec; subsampling concerns colour images only."""
    return Jpeg(quality, subsampling)
