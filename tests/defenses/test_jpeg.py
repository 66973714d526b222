# SPDX-License-Identifier: Apache-2.0
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from radproof.core.rng import generator
from radproof.defenses.jpeg import Jpeg
from radproof.defenses.jpeg_twin import jpeg_twin

RNG = generator(0)


def smooth(n, c, h, w, noise=0.02):
    coarse = torch.rand(n, c, 4, 4, generator=generator(1))
    fine = torch.nn.functional.interpolate(coarse, size=(h, w), mode="bicubic", align_corners=True)
    return (fine + noise * torch.randn(fine.shape, generator=generator(2))).clamp(0, 1)


def test_it_is_the_codec_and_it_rounds():
    x = smooth(1, 1, 40, 56)
    stream = BytesIO()
    Image.fromarray((x[0, 0].double() * 255).round().byte().numpy()).save(stream, "JPEG", quality=60)
    expected = np.asarray(Image.open(stream))
    assert torch.equal((Jpeg(60)(x, rng=RNG)[0, 0] * 255).round().byte(), torch.from_numpy(expected.copy()))


def test_rounding_has_no_bias():
    x = torch.linspace(0, 1, 64 * 64).view(1, 1, 64, 64)
    assert abs((Jpeg(100)(x, rng=RNG) - x).mean().item()) * 255 < 0.02  # cutting would give -0.5


def test_lower_quality_changes_more():
    x = smooth(2, 1, 64, 64)
    change = [(Jpeg(q)(x, rng=RNG) - x).abs().mean().item() for q in (10, 50, 75, 95)]
    assert change == sorted(change, reverse=True)


def test_threads_change_no_byte(monkeypatch):
    x = smooth(6, 3, 24, 24)
    alone = Jpeg()(x, rng=RNG)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(Jpeg()(x, rng=RNG), alone)


@pytest.mark.parametrize("quality", [10, 50, 75, 95])
@pytest.mark.parametrize("shape", [(2, 1, 64, 64), (2, 1, 37, 51), (2, 3, 64, 48), (2, 3, 37, 51)], ids=str)
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_the_twin_is_within_a_few_grey_levels_of_pillow(quality, shape, subsampling):
    x = smooth(*shape)
    codec = Jpeg(quality, subsampling)
    apart = (codec.surrogate(x, rng=RNG) - codec(x, rng=RNG)) * 255
    # A coefficient on the edge between two steps may fall to either side; these are saturated colours, the worst case.
    mean, share = (1.0, 0.02) if shape[1] == 1 else (1.3, 0.07)
    assert apart.abs().mean() < mean
    assert (apart.abs() > 4).float().mean() < share
    assert apart.mean().abs() < 0.1


def test_the_twin_of_a_radiograph(shared):
    file = sorted((shared / "data/nih-chestxray14-320/images").glob("*.png"))[0]
    x = torch.from_numpy(np.asarray(Image.open(file).convert("L"), dtype=np.float32) / 255)[None, None]
    apart = (Jpeg(75).surrogate(x, rng=RNG) - Jpeg(75)(x, rng=RNG)).abs() * 255
    assert apart.mean() < 0.3
    assert (apart > 3).float().mean() < 0.01


def test_the_slope_is_small_where_the_codec_flattens():
    flat = torch.full((1, 1, 8, 8), 0.5)
    checkers = torch.ones(8, 8)
    checkers[1::2, ::2] = checkers[::2, 1::2] = -1
    x = (flat + 0.004 * checkers).requires_grad_()
    (slope,) = torch.autograd.grad((jpeg_twin(x, 50, "4:2:0") * checkers).sum(), x)
    # the highest frequency is rounded to 0: an identity would hand all 64 back, Shin and Song's slope nearly nothing
    assert (slope * checkers).sum().abs() < 8
