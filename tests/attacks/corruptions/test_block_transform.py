# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Generator, Tensor

from radproof.attacks import attack, corruption
from radproof.errors import BadPlan, UnknownName

OPERATIONS = ("shuffle", "rot90", "rotate", "roll", "flip")


def apply(x: Tensor, seed: int = 0, **params: object) -> Tensor:
    return corruption["block_transform"].make(params)(x, rng=Generator().manual_seed(seed))


def blocks_of(x: Tensor, grid: int) -> list[Tensor]:
    return [block for band in x.tensor_split(grid, 1) for block in band.tensor_split(grid, 2)]


@pytest.mark.parametrize("operations", [("shuffle",), ("rot90",), ("roll",), ("flip",), ("shuffle", "flip", "roll")])
def test_moves_only_rearrange_the_pixels(images, operations):
    x = images(3, 3, 12)
    out = apply(x, operations=operations)
    assert not torch.equal(out, x)
    torch.testing.assert_close(out.flatten(2).sort(2).values, x.flatten(2).sort(2).values)


def test_shuffling_moves_every_chosen_block_whole(images):
    x = images(1, 1, 12)
    out = apply(x, operations=("shuffle",), grid=3)
    before, after = blocks_of(x[0], 3), blocks_of(out[0], 3)
    came_from = [next(i for i, b in enumerate(before) if torch.equal(a, b)) for a in after]
    assert sorted(came_from) == list(range(9))
    assert all(i != place for place, i in enumerate(came_from))


def test_a_flip_is_a_flip_of_each_block(images):
    x = images(1, 1, 12)
    for a, b in zip(blocks_of(apply(x, operations=("flip",))[0], 3), blocks_of(x[0], 3), strict=True):
        assert torch.equal(a, b.flip(1)) or torch.equal(a, b.flip(2))


def test_a_small_rotation_keeps_the_middle_and_moves_the_rim():
    line = torch.linspace(0, 1, 21)
    x = line.expand(21, 21)[None, None].clone()  # a ramp from left to right
    out = apply(x, operations=("rotate",), grid=1)
    assert float(out[0, 0, 10, 10]) == pytest.approx(0.5, abs=1e-4)
    slope = (out[0, 0, 12] - out[0, 0, 8]).mean()  # a turned ramp has a slope downwards too
    assert 1e-3 < abs(float(slope)) < 0.2 * torch.tan(torch.deg2rad(torch.tensor(16.0)))


def test_fraction_and_blend(images):
    x = images(4, 1, 16)
    torch.testing.assert_close(apply(x, fraction=0.0), x)
    torch.testing.assert_close(apply(x, blend=0.0), x)
    whole, half = apply(x, blend=1.0), apply(x, blend=0.5)
    torch.testing.assert_close(half, 0.5 * x + 0.5 * whole)
    some = apply(x, fraction=0.25, grid=4, operations=("flip",))
    changed = sum(not torch.equal(a, b) for a, b in zip(blocks_of(some[0], 4), blocks_of(x[0], 4), strict=True))
    assert changed == 4


@pytest.mark.parametrize("shape", [(2, 1, 13, 17), (1, 3, 9, 30), (0, 1, 8, 8)])
def test_any_shape_in_range_repeatable_and_untouched(shape, rng):
    x = torch.rand(shape, generator=rng)
    kept = x.clone()
    out = apply(x, seed=3, grid=4)
    assert out.shape == x.shape
    assert torch.equal(x, kept)
    assert ((out >= 0) & (out <= 1)).all()
    assert torch.equal(out, apply(x, seed=3, grid=4))


def test_images_of_a_batch_are_moved_apart(images):
    out = apply(images(1, 1, 16).repeat(2, 1, 1, 1))
    assert not torch.equal(out[0], out[1])


def test_it_is_visible_and_no_attack():
    recipe = corruption["block_transform"]
    assert recipe.threat == "visible"
    assert "eps" not in recipe.params.model_fields
    with pytest.raises(UnknownName):
        attack["block_transform"]


@pytest.mark.parametrize(
    "params",
    [{"grid": 0}, {"operations": ()}, {"operations": ("melt",)}, {"fraction": 1.1}, {"blend": -1}, {"eps": 0.1}],
)
def test_bad_parameters_are_refused(params):
    with pytest.raises(BadPlan):
        corruption["block_transform"].make(params)


def test_a_grid_finer_than_the_image_is_refused(images):
    with pytest.raises(BadPlan, match="grid=20 cannot divide images of 16x16"):
        apply(images(), grid=20)
