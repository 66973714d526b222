# SPDX-License-Identifier: Apache-2.0
"""Which images are one and the same image, re-encoded, windowed or resized.

What is learnt from an image must not be judged on its copy: a copy is as near as nothing else ever is.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from radproof.detectors.look import Look

_SIDE = 16
_ALIKE = 0.95  # correlation; copies of a radiograph reach 0.99, two radiographs 0.87
_FEWEST = 10  # groups; with fewer, leaving out a group leaves out too much


def kin(pieces: Sequence[Look]) -> Tensor:
    """(N,) int64: the group of every image, numbered in order of appearance; copies share one.

    Where fewer than ten groups are found, every image is a group of its own.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    found = torch.cat([_thumbnails(piece.x) for piece in pieces])
    count, groups = connected_components(csr_array((found @ found.T > _ALIKE).numpy()), directed=False)
    return torch.arange(len(found)) if count < _FEWEST else torch.from_numpy(groups).long()


def folds(groups: Tensor, most: int) -> Tensor:
    """(N,) the part of `most` that each image is in; no group lies in two."""
    return groups % min(most, int(groups.max()) + 1)


def firsts(groups: Tensor) -> Tensor:
    """(G,) the place of every group's first image."""
    return torch.tensor(sorted({int(group): row for row, group in reversed(list(enumerate(groups)))}.values()))


def _thumbnails(x: Tensor) -> Tensor:
    """(N, 256) of length 1: a small image less its neighbourhood's mean, so that grey scale and grain play no part."""
    small = F.adaptive_avg_pool2d(x.detach().float().mean(1, keepdim=True), _SIDE)
    fine = small - F.avg_pool2d(F.pad(small, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return F.normalize(fine.flatten(1), dim=1).cpu()
