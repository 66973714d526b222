# SPDX-License-Identifier: Apache-2.0
"""JPEG compression as a defence: it rounds away what the eye does not see, and much of what an attacker adds.

Dziugaite et al., "A study of the effect of JPG compression on adversarial images", 2016; Das et al., 2017; Guo et al.,
"Countering Adversarial Images using Input Transformations", ICLR 2018 (quality 75).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Generator, Tensor

from radproof.core.types import Backward, Defense
from radproof.defenses.checks import require_images
from radproof.defenses.jpeg_twin import jpeg_twin
from radproof.defenses.registry import Quality, Subsampling, defense

_CODEC = ("JPEG",)
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
        exact = x.detach() if x.element_size() >= 4 else x.detach().float()
        images = exact.cpu().numpy()
        out = np.empty(images.shape, images.dtype)

        def through(row: int) -> None:  # image by image: what lies between stays in the processor's cache
            image = images[row]
            scaled = image * image.dtype.type(255)
            levels = np.rint(scaled, out=scaled).astype(np.uint8)
            np.divide(self._round_trip(levels), image.dtype.type(255), out=out[row])

        _for_each(through, len(x))
        return torch.from_numpy(out).to(x.device, x.dtype)

    def surrogate(self, x: Tensor, *, rng: Generator) -> Tensor:
        """The codec in torch arithmetic, with a gradient; grey images within a level or so of the real one."""
        require_images(x.detach())
        return jpeg_twin(x, self.quality, self.subsampling)

    def _round_trip(self, levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(C, H, W) of grey levels through the codec."""
        stream = BytesIO()
        if len(levels) == 1:
            Image.fromarray(levels[0]).save(stream, "JPEG", quality=self.quality)
            return _decoded(stream, *levels.shape[1:])[None, ..., 0]
        colour = Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))
        colour.save(stream, "JPEG", quality=self.quality, subsampling=self.subsampling)
        return _decoded(stream, *levels.shape[1:]).transpose(2, 0, 1)


def _decoded(stream: BytesIO, height: int, width: int) -> NDArray[np.uint8]:
    """(H, W, C); the bytes as they are, without another copy."""
    pixels = Image.open(stream, formats=_CODEC).tobytes()
    return np.frombuffer(pixels, np.uint8).reshape(height, width, -1)


def _for_each(work: Callable[[int], None], count: int) -> None:
    """All rows, over as many threads as torch may use: the codec leaves Python's lock."""
    workers = min(count, torch.get_num_threads())
    if workers < 2 or count < _WORTH_THREADS:
        for row in range(count):
            work(row)
        return
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(count)))


@defense(title="JPEG compression", paper="Dziugaite et al., 2016; Guo et al., ICLR 2018")
def jpeg(quality: Quality = 75, subsampling: Subsampling = "4:2:0") -> Defense:
    """Each image through the JPEG codec; subsampling concerns colour images only."""
    return Jpeg(quality, subsampling)
