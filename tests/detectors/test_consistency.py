# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter

from radproof.detectors.consistency import Consistency
from radproof.detectors.squeezers import median, resize_and_back, squeezers


def test_images_pushed_by_the_models_own_gradient_stand_out(model, pictures):
    fitted = Consistency().fit(model, pictures(40, 0))
    x = pictures(30, 1)
    logits = torch.cat([model(part) for part in x.split(5)])
    away = model.patterns[:, logits.argmax(1)].T.reshape(-1, 1, 32, 32)
    attacked = (x - 2 / 255 * away.sign()).clamp(0, 1)
    clean, pushed = fitted.score(x), fitted.score(attacked)
    wins = (pushed[:, None] > clean[None]).double().mean()
    assert wins > 0.75


def test_the_median_is_scipys():
    x = torch.rand(1, 1, 9, 7)
    expected = median_filter(x[0, 0].numpy(), size=3, mode="nearest")
    assert np.array_equal(median(x)[0, 0].numpy(), expected)


@pytest.mark.parametrize("shape", [(2, 1, 16, 23), (1, 3, 17, 16)])
def test_squeezers_keep_shape_and_range_and_change_little(shape):
    smooth = torch.nn.functional.interpolate(torch.rand(*shape[:2], 3, 3), size=shape[2:], mode="bilinear")
    for squeeze in squeezers().values():
        y = squeeze(smooth)
        assert y.shape == smooth.shape
        assert 0 <= y.min() <= y.max() <= 1
        assert 0 < (y - smooth).abs().mean() < 0.05


def test_resize_keeps_a_flat_image():
    x = torch.full((1, 1, 16, 16), 0.3)
    assert torch.allclose(resize_and_back(x), x, atol=1e-6)


def test_sigmoid_heads_are_scored_by_finding(model, pictures):
    from dataclasses import replace

    fitted = Consistency().fit(replace(model, head="sigmoid"), pictures(20, 0))
    assert torch.isfinite(fitted.score(pictures(3, 1))).all()
