# SPDX-License-Identifier: Apache-2.0
"""Who may do more does not do worse: a linear classifier, and detectors of how much an image was changed."""

import pytest
import torch
from torch import Generator

from radproof.attacks.aware.evasion import Evasion
from radproof.attacks.aware.orthogonal import Orthogonal
from radproof.core.goals import Misclassify
from radproof.core.types import Watch

SIDE, IMAGES = 16, 12
RNG = Generator().manual_seed(0)
NORMAL = torch.randn(SIDE, SIDE, generator=RNG, dtype=torch.float64)
PLANES = torch.randn(40, SIDE * SIDE, generator=RNG, dtype=torch.float64) / SIDE


class Linear:
    """The margin is (x - 1/2) along NORMAL."""

    micro_batch = 64

    def __call__(self, x):
        margin = ((x - 0.5) * NORMAL).sum((1, 2, 3))
        return torch.stack([-margin / 2, margin / 2], 1)


def images():
    """Images that a perturbation of 0.05 to 0.9 grey levels fools if all of it goes along the sign of NORMAL."""
    needed = torch.linspace(0.05, 0.9, IMAGES, dtype=torch.float64) / 255 * NORMAL.abs().sum()
    return 0.5 - (needed / NORMAL.square().sum()).view(-1, 1, 1, 1) * NORMAL


def largest(z):
    """The largest change, smoothly: a power mean."""
    return ((z - 0.5) * 255).pow(8).mean((1, 2, 3)).pow(1 / 8)


def features(z):
    """Changes of features, each less telling the further it is off: far out there is hardly a slope."""
    return torch.log1p((((z - 0.5) * 255).flatten(1) @ PLANES.T).square()).mean(1)


ATTACKS = {
    "evasion": lambda watch, eps: Evasion(watch, eps, 20, 3),
    "selective": lambda watch, eps: Orthogonal(watch, eps, 60, "selective"),
}


@pytest.mark.parametrize("kind", list(ATTACKS))
@pytest.mark.parametrize(("suspicion", "threshold"), [(largest, 1.3), (features, 0.45)])
def test_a_larger_budget_fools_no_fewer_unseen(kind, suspicion, threshold):
    x, goal, model = images(), Misclassify(torch.zeros(IMAGES, dtype=torch.long)), Linear()
    unseen = []
    for grey in (1, 2, 4, 8):
        out = ATTACKS[kind](Watch(suspicion, threshold, threshold / 5), grey / 255)(model, x, goal, rng=Generator())
        fooled = model(out).diff(dim=1).flatten() > 0
        unseen.append(int((fooled & (suspicion(out) <= threshold)).sum()))
    assert unseen == sorted(unseen)
    assert unseen[0] > 0
