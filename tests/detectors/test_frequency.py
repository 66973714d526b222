# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn

from radproof.core.rng import generator
from radproof.detectors.calibrate import calibrate
from radproof.detectors.frequency import Frequency
from radproof.detectors.residuals import residual_statistics


def signs(like, levels, seed=0):
    return (torch.randint(0, 2, like.shape, generator=generator(seed, "signs")) * 2 - 1) * levels / 255


def detected(fitted, calibration, x):
    threshold = calibrate(fitted.score(calibration), false_positive_rate=0.05)
    return (fitted.score(x) > threshold.value).double().mean().item()


def test_one_grey_level_of_sign_noise_is_seen(model, pictures):
    fitted = Frequency().fit(model, pictures(120, 0))
    x = pictures(60, 2)
    assert detected(fitted, pictures(60, 1), x) < 0.2
    assert detected(fitted, pictures(60, 1), (x + signs(x, 1)).clamp(0, 1)) > 0.9


def test_one_grey_level_on_radiographs_is_seen(shared):
    files = sorted((shared / "data/nih-chestxray14-320/images").glob("*.png"))[:180]
    levels = np.stack([np.asarray(Image.open(file).convert("L"))[64:256, 64:256] for file in files])
    x = torch.from_numpy(levels.astype(np.float32) / 255)[:, None]
    fitted = Frequency().fit(None, x[:100])
    noisy = (x[150:] + signs(x[150:], 1)).clamp(0, 1)
    assert detected(fitted, x[100:150], x[150:]) < 0.25
    assert detected(fitted, x[100:150], noisy) > 0.9


def test_the_share_of_small_differences_by_hand():
    x = torch.zeros(1, 1, 16, 16)
    x[..., 8:] = 3 / 255  # one step of three levels in every row
    below = residual_statistics(x)[0, :4]  # shares of differences across of at most 0, 1, 2, 4 levels
    assert below.tolist() == pytest.approx([14 / 15, 14 / 15, 14 / 15, 1], abs=1e-6)


def test_cosine_bands_equal_scipys():
    x = torch.rand(1, 1, 16, 24, generator=generator(1)) * 0.05
    found = residual_statistics(x)[0, -2].item()  # the highest band, over all blocks
    blocks = (x[0, 0].double() * 255).numpy().reshape(2, 8, 3, 8).swapaxes(1, 2).reshape(-1, 8, 8)
    i = np.add.outer(np.arange(8), np.arange(8))
    sizes = np.abs([dctn(block, norm="ortho") for block in blocks])[:, i >= 13]
    assert found == pytest.approx(np.log(sizes.mean() + 0.05), abs=1e-4)


def test_it_does_not_ask_the_model(pictures):
    assert torch.isfinite(Frequency().fit(None, pictures(20, 0)).score(pictures(2, 1))).all()
