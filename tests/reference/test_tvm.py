# SPDX-License-Identifier: Apache-2.0
"""Total-variation minimisation against scikit-image's Chambolle, run until it stands still."""

import numpy as np
import pytest
import torch
from skimage.restoration import denoise_tv_chambolle

from radproof.core.rng import generator
from radproof.defenses.tvm import Tvm


def objective(u, f, lam):
    u, f = u.astype(np.float64), f.astype(np.float64)
    across, down = np.zeros_like(u), np.zeros_like(u)
    across[:, :-1], down[:-1] = np.diff(u, axis=1), np.diff(u, axis=0)
    return ((u - f) ** 2).sum() + lam * np.hypot(across, down).sum()


def scene(h, w):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:h, :w] / max(h, w)
    disc = 0.3 + 0.4 * ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.06) + 0.2 * x
    return np.clip(disc + 0.03 * rng.normal(size=(h, w)), 0, 1).astype(np.float32)


@pytest.mark.parametrize("lam", [0.03, 0.1])
@pytest.mark.parametrize("side", [(48, 48), (33, 57)])
def test_same_objective_and_same_image_as_scikit_image(lam, side):
    f = scene(*side)
    reference = denoise_tv_chambolle(f.astype(np.float64), weight=lam / 2, eps=1e-9, max_num_iter=4000)
    ours = Tvm(lam, gap=1e-4, max_iterations=5000)(torch.from_numpy(f)[None, None], rng=generator(0))[0, 0].numpy()
    assert objective(ours, f, lam) == pytest.approx(objective(reference, f, lam), rel=2e-4)
    assert np.abs(ours - reference).mean() < 1e-3


def test_the_default_stop_is_nearer_than_scikit_images():
    f = scene(64, 64)
    x = torch.from_numpy(f)[None, None]
    best = objective(Tvm(0.1, gap=1e-5, max_iterations=50_000)(x.double(), rng=generator(0))[0, 0].numpy(), f, 0.1)
    ours = objective(Tvm()(x, rng=generator(0))[0, 0].numpy(), f, 0.1)
    theirs = objective(denoise_tv_chambolle(f, weight=0.05), f, 0.1)
    assert ours / best - 1 < 1e-3 < theirs / best - 1
