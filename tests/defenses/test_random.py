# SPDX-License-Identifier: Apache-2.0
"""Noise, random size and place, random style: what they draw and what they do with it."""

import math

import pytest
import torch
import torch.nn.functional as F

from radproof.core.rng import generator
from radproof.defenses import defense
from radproof.defenses.draws import generators, normals, uniforms
from radproof.defenses.noise import Noise
from radproof.defenses.random_resize_pad import RandomResizePad
from radproof.defenses.style import StyleRandomisation


def smooth(n=1, c=1, side=40):
    coarse = torch.rand(n, c, 4, 4, generator=generator(1))
    return 0.2 + 0.6 * F.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=True)


def test_rows_draw_by_their_place_whatever_the_batch():
    few, many = (normals(torch.zeros(n, 1), generator(3), 20) for n in (2, 9))
    assert torch.equal(few, many[:2])
    assert len({tuple(row.tolist()) for row in many}) == 9
    first, second = generators(generator(4), 2)
    assert torch.rand(1, generator=first) != torch.rand(1, generator=second)
    assert uniforms(torch.zeros(0, 1), generator(3), 5).shape == (0, 5)


def test_noise_has_the_spread_that_was_asked_for_and_is_clipped():
    x = torch.full((4, 1, 50, 50), 0.5)
    drawn = Noise(0.1)(x, rng=generator(0)) - x
    assert float(drawn.std()) == pytest.approx(0.1, rel=0.03)
    assert abs(float(drawn.mean())) < 4 * 0.1 / 100
    black = Noise(0.1)(torch.zeros(4, 1, 50, 50), rng=generator(0))
    assert float((black == 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert float(black.mean()) == pytest.approx(0.1 / math.sqrt(2 * math.pi), rel=0.05)


def test_grey_noise_on_grey_images_and_coloured_noise_on_colour():
    grey = smooth().expand(-1, 3, -1, -1)
    colour = smooth(1, 3)
    both = Noise(0.05)(torch.cat([grey, colour]), rng=generator(0))
    assert torch.equal(both[0, 0], both[0, 2])
    noise = (both - torch.cat([grey, colour]))[1].flatten(1)
    assert torch.corrcoef(noise).fill_diagonal_(0).abs().max() < 0.1


def test_random_resizing_and_padding_step_by_step():
    x, ratio = smooth(3, 3, 30), 1.2
    y = RandomResizePad(ratio)(x, rng=generator(5))
    sizes = set()
    for row, (share, down, right) in enumerate(uniforms(x, generator(5), 3).tolist()):
        size = 30 + math.floor(share * 6)  # 30 ... 35 inside a canvas of 36
        sizes.add(size)
        top, left = math.floor(down * (37 - size)), math.floor(right * (37 - size))
        large = F.interpolate(x[row : row + 1], size=(size, size), mode="bilinear", align_corners=False)
        canvas = F.pad(large, (left, 36 - size - left, top, 36 - size - top))
        back = F.interpolate(canvas, size=(30, 30), mode="bilinear", align_corners=False)
        assert torch.allclose(y[row], back[0], atol=1e-5)
    assert len(sizes) > 1


def test_all_sizes_and_both_corners_occur():
    white = torch.ones(400, 1, 20, 20)
    y = RandomResizePad(1.25)(white, rng=generator(0))
    areas = y.mean(dim=(1, 2, 3))
    assert len({round(float(area) ** 0.5 * 25) for area in areas}) == 5  # 20 ... 24 of 25
    top, bottom = y[:, 0, 0].sum(1) == 0, y[:, 0, -1].sum(1) == 0
    assert min(int(top.sum()), int(bottom.sum())) > 20


def test_votes_are_the_papers_when_published():
    recipe = defense["random_resize_pad"]
    assert [recipe.make({}, preset=preset).votes for preset in ("quick", "published")] == [5, 30]
    assert recipe.make({"votes": 3}, preset="published").votes == 3
    assert recipe.make({}).ratio == pytest.approx(1.107, abs=1e-3)


def test_a_look_is_the_same_for_all_channels_and_keeps_the_order_of_far_apart_greys():
    x = smooth(8)
    y = StyleRandomisation()(x.expand(-1, 3, -1, -1), rng=generator(2))
    assert torch.equal(y[:, 0], y[:, 1])
    assert torch.allclose(y[:, :1], StyleRandomisation()(x, rng=generator(2)), atol=1e-6)
    correlation = [
        float(torch.corrcoef(torch.stack([a.flatten(), b[0].flatten()]))[0, 1]) for a, b in zip(x, y, strict=True)
    ]
    assert min(correlation) > 0.8


def test_a_style_without_strength_is_the_image_and_more_strength_is_farther():
    x = smooth(8)
    assert torch.allclose(StyleRandomisation(1e-6)(x, rng=generator(2)), x, atol=1e-4)
    away = [float((StyleRandomisation(s)(x, rng=generator(2)) - x).abs().mean()) for s in (0.1, 0.3, 1.0)]
    assert away == sorted(away)
    assert away[0] < 0.05 < away[2]


def test_exposure_and_amplitudes_reach_the_lowest_frequencies_alone_and_stay_real():
    like = torch.zeros(1, 1, 40, 60)
    gains = StyleRandomisation(1.0)._gains(like, generator(3))[0, 0]
    low = torch.zeros(40, 31, dtype=torch.bool)
    low[[0, 1, 2, -1, -2], :3] = True
    assert bool((gains[low] != 1).all())
    assert bool((gains[~low] == 1).all())
    x = torch.rand(40, 60, generator=generator(1))
    spectrum = torch.fft.rfft2(x) * gains
    assert torch.allclose(torch.fft.rfft2(torch.fft.irfft2(spectrum, s=x.shape)), spectrum, atol=1e-3)


def test_mean_brightness_varies_by_as_much_as_it_says():
    gains = torch.stack([StyleRandomisation(0.5)._gains(torch.zeros(1, 1, 8, 8), g)[0, 0, 0, 0]
                         for g in generators(generator(0), 2000)])  # fmt: skip
    assert float(gains.log().std()) == pytest.approx(0.5 * 0.2, rel=0.06)
    assert abs(float(gains.log().mean())) < 0.01
