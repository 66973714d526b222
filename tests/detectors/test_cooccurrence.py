# SPDX-License-Identifier: Apache-2.0
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from radproof.core.rng import generator
from radproof.detectors.cooccurrence import WORDS, pair_statistics
from radproof.detectors.residuals import Differences


def pairs(levels):
    found = pair_statistics(Differences(levels[None]))
    assert found.shape == (1, len(WORDS))
    return dict(zip(WORDS, found[0].exp().tolist(), strict=True))


def counted(differences, axis):
    """Shares of pairs of neighbours after truncation, by a loop."""
    short = np.clip(differences, -2, 2).astype(int)
    short = short if axis else short.T
    seen = Counter((int(a), int(b)) for row in short for a, b in pairwise(row))
    total = sum(seen.values())
    return {pair: count / total for pair, count in seen.items()}


def test_pairs_are_counted_as_by_hand():
    levels = torch.randint(0, 4, (18, 23), generator=generator(3, "pairs")).float()
    image = levels.numpy()
    across, down = counted(np.diff(image, axis=1), 1), counted(np.diff(image, axis=0), 0)
    square = np.diff(np.diff(image, axis=1), axis=0)
    found = pairs(levels)
    for what, (one, other) in {
        "neighbouring": (across, down),
        "diagonal": (counted(square, 1), counted(square, 0)),
    }.items():
        for kinds, name in (
            ([(0, 0)], "(0, 0)"),
            ([(1, -1), (-1, 1)], "(1, −1)"),
            ([(2, 2), (-2, -2)], "(2, 2)"),
            ([(2, -1), (-1, 2), (-2, 1), (1, -2)], "(2, −1)"),
        ):
            expected = sum((one.get(kind, 0) + other.get(kind, 0)) / 2 for kind in kinds)
            assert found[f"pairs of {what} differences {name}"] == pytest.approx(expected + 1e-3, abs=1e-5)


def test_all_pairs_are_counted_once():
    found = pairs(torch.rand(20, 20, generator=generator(4)) * 9)
    assert sum(value - 1e-3 for name, value in found.items() if "neighbouring" in name) == pytest.approx(1, abs=1e-4)
    assert sum("neighbouring" in name for name in found) == sum("diagonal" in name for name in found) == 9


def test_a_pair_tells_the_same_mirrored_or_inverted():
    levels = torch.randint(0, 5, (16, 19), generator=generator(5, "mirror")).float()
    for other in (levels.flip(0), levels.flip(1), 4 - levels, levels.T.contiguous()):
        assert pairs(other) == pytest.approx(pairs(levels), abs=1e-5)


def test_smooth_counts_have_a_gradient_towards_the_pair():
    levels = (torch.randint(0, 4, (1, 16, 16), generator=generator(6, "soft")) + 0.3).requires_grad_(True)
    moved = levels + 0.2 * torch.rand(levels.shape, generator=generator(7))
    silent = pair_statistics(Differences(moved))[0, WORDS.index("pairs of neighbouring differences (0, 0)")]
    (slope,) = torch.autograd.grad(silent, levels)
    step = 1e-2 * slope / slope.abs().max()
    after = pair_statistics(Differences((moved + step).detach()))[0]
    assert after[WORDS.index("pairs of neighbouring differences (0, 0)")] > silent
