# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from radproof.core.rng import generator
from radproof.defenses.bit_depth import BitDepth
from radproof.defenses.effect import effect
from radproof.defenses.noise import Noise
from radproof.errors import BadInput
from radproof.measure.images import psnr, ssim

X = torch.rand(3, 1, 30, 26, generator=generator(1))
RNG = generator(0)


class Spoils:
    """Turns the left half black."""

    def __call__(self, x, *, rng):
        y = x.clone()
        y[..., :13] = 0
        return y


def test_over_whole_images_it_is_ssim_and_psnr():
    found, y = effect(BitDepth(3), X, rng=RNG), BitDepth(3)(X, rng=RNG)
    assert torch.equal(found.ssim, ssim(X, y))
    assert torch.equal(found.psnr, psnr(X, y))


def test_a_region_of_all_pixels_changes_nothing():
    everything = torch.ones(3, 1, 30, 26, dtype=torch.bool)
    whole, region = effect(BitDepth(3), X, rng=RNG), effect(BitDepth(3), X, rng=RNG, region=everything)
    assert torch.allclose(whole.ssim, region.ssim)
    assert torch.allclose(whole.psnr, region.psnr)


def test_only_the_region_counts():
    left = torch.zeros(3, 1, 30, 26, dtype=torch.bool)
    left[..., :13] = True
    right = torch.zeros_like(left)
    right[..., 18:] = True  # five pixels of a window's reach from what was spoilt
    beside, spoilt = (effect(Spoils(), X, rng=RNG, region=where) for where in (right, left))
    assert torch.allclose(beside.ssim, torch.ones(3, dtype=torch.float64))
    assert bool(beside.psnr.isinf().all())
    assert torch.allclose(spoilt.psnr, -10 * X.double()[..., :13].square().mean(dim=(1, 2, 3)).log10())
    assert bool((spoilt.ssim < 0.2).all())


def test_each_image_has_its_own_region_and_colours_are_averaged():
    rgb = torch.rand(2, 3, 20, 20, generator=generator(2))
    region = torch.zeros(2, 1, 20, 20, dtype=torch.bool)
    region[0, :, 8:12, 8:12] = region[1, :, 2:18, 4:9] = True
    together = effect(BitDepth(2), rgb, rng=RNG, region=region)
    for row in range(2):
        alone = effect(BitDepth(2), rgb[row : row + 1], rng=RNG, region=region[row : row + 1])
        assert torch.allclose(alone.ssim, together.ssim[row])
        assert torch.allclose(alone.psnr, together.psnr[row])


def test_a_random_defence_is_drawn_from_the_generator():
    first, again, other = (effect(Noise(0.1), X, rng=generator(seed)).psnr for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.allclose(first, torch.full_like(first, 20.5), atol=1.0)  # a little above 20: noise is clipped


@pytest.mark.parametrize(
    "region",
    [torch.ones(3, 1, 30, 26), torch.ones(3, 1, 30, 25, dtype=torch.bool), torch.zeros(3, 1, 30, 26, dtype=torch.bool)],
    ids=["no booleans", "another shape", "empty"],
)
def test_refusals(region):
    with pytest.raises(BadInput, match="region"):
        effect(BitDepth(3), X, rng=RNG, region=region)


def test_a_region_of_one_pixel_is_the_window_around_it():
    one = torch.zeros(3, 1, 30, 26, dtype=torch.bool)
    one[..., 15, 13] = True
    around = ssim(X[..., 10:21, 8:19], BitDepth(3)(X, rng=RNG)[..., 10:21, 8:19])
    assert torch.allclose(effect(BitDepth(3), X, rng=RNG, region=one).ssim, around)
