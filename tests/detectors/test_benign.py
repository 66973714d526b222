# SPDX-License-Identifier: Apache-2.0
"""What an archive does to images."""

import numpy as np
import pytest
import torch

from radproof.core.depth import EIGHT, SIXTEEN, Depth
from radproof.detectors.benign import benign, exposure, handlings, jpeg2000, noise, resized, rewindow


@pytest.fixture
def film():
    """A smooth grey image with fine grain, on the 8-bit grid."""
    rng = np.random.default_rng(0)
    rows = np.linspace(0.2, 0.8, 48)[:, None] + 0.05 * rng.normal(size=(48, 40))
    return torch.from_numpy((rows.clip(0, 1) * 255).round() / 255).float()[None, None]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", [EIGHT, SIXTEEN, Depth(3000, held=True)])
def test_every_handling_gives_images_of_the_same_kind_that_differ(film, channels, depth):
    x = film.expand(2, channels, -1, -1) + 0.3 / 255  # between two levels of 8 bits
    for handling in benign(depth):
        out = handling.apply(x, depth)
        assert (out.shape, out.dtype) == (x.shape, x.dtype), handling.name
        assert float(out.min()) >= 0 and float(out.max()) <= 1, handling.name
        assert 1e-4 < float((out - x).abs().mean()) < 0.06, handling.name


def test_exporting_8_bits_is_told_of_deeper_images_alone():
    names = [{h.name for h in handlings(depth)} for depth in (Depth(40), EIGHT, Depth(4000), SIXTEEN)]
    assert ["8-bit" in found for found in names] == [False, False, True, True]


def test_a_narrower_window_by_hand():
    x = torch.tensor([0.0, 0.05, 0.5, 0.95, 1.0]).view(1, 1, 1, 5)
    assert rewindow(x, SIXTEEN).flatten().tolist() == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-4)


def test_resizing_keeps_what_is_smooth_and_blurs_what_is_not(film):
    flat = torch.full_like(film, 102 / 255)
    torch.testing.assert_close(resized(flat, EIGHT), flat, atol=1e-6, rtol=0)
    grain = film - film.mean(3, keepdim=True)
    assert resized(film, EIGHT).var() < film.var()
    assert float((resized(film, EIGHT) - film).abs().mean()) < float(grain.abs().mean())


def test_jpeg_2000_keeps_less_at_a_smaller_share_and_nearly_all_of_16_bits(film):
    errors = [float((jpeg2000(film, EIGHT, ratio) - film).abs().mean()) for ratio in (2, 10, 40)]
    assert errors == sorted(errors)
    smooth = torch.linspace(0, 1, 64).view(1, 1, 1, 64).expand(1, 1, 64, 64)
    assert float((jpeg2000(smooth, SIXTEEN, 4) - smooth).abs().max()) < 0.5 / 255  # 8 bits could not


@pytest.mark.parametrize("depth", [EIGHT, SIXTEEN, Depth(3000, held=True)])
def test_images_stay_on_the_stored_levels(film, depth):
    x = film.expand(2, 1, -1, -1)
    for handling in benign(depth):
        top = EIGHT.top if handling.name in ("jpeg-90", "jpeg-75", "8-bit") else depth.top
        levels = handling.apply(x, depth).double() * top
        assert float((levels - levels.round()).abs().max()) < 1e-2, handling.name


def test_an_image_is_treated_alike_alone_and_among_others_and_again(film):
    x = torch.cat([film, film.flip(2), film * 0.5, film])
    for handling in benign(EIGHT):
        together = handling.apply(x, EIGHT)
        assert torch.equal(together, handling.apply(x, EIGHT)), handling.name
        assert torch.equal(together[2:3], handling.apply(x[2:3], EIGHT)), handling.name
        assert torch.equal(together[0], together[3]), handling.name


def test_the_harmless_are_the_handlings_and_two_more():
    names = [handling.name for handling in benign(Depth(4000))]
    assert names == [handling.name for handling in handlings(Depth(4000))] + ["exposure", "noise"]


def test_no_images_stay_no_images():
    none = torch.zeros(0, 1, 20, 20)
    assert all(handling.apply(none, EIGHT).shape == none.shape for handling in benign(EIGHT))


def test_the_noise_is_one_grey_level_and_differs_from_image_to_image():
    x = torch.full((2, 1, 128, 128), 0.5)
    x[1, 0, 0, 0] = 0.6
    grain = (noise(x, SIXTEEN) - x) * 255
    assert grain.flatten(1).std(1).tolist() == pytest.approx([1, 1], abs=0.03)
    assert grain.flatten(1).mean(1).tolist() == pytest.approx([0, 0], abs=0.03)
    assert abs(float(torch.corrcoef(grain.flatten(1))[0, 1])) < 0.03
    grey = noise(x.expand(-1, 3, -1, -1), SIXTEEN)
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_the_exposure_keeps_black_and_white_and_lifts_what_is_between():
    x = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 1, 3)
    assert exposure(x, SIXTEEN).flatten().tolist() == pytest.approx([0, 0.25**0.85, 1], abs=1e-4)
