import pytest
import torch
from pydantic import ValidationError
from skimage.exposure import adjust_gamma
from skimage.transform import rotate

from radproof.core.rng import generator
from radproof.errors import BadInput
from radproof.training.augment import augment, draw
from radproof.training.augment_style import style_bank
from radproof.training.recipe import AugmentRecipe

X = torch.rand(4, 1, 33, 33, generator=torch.Generator().manual_seed(0))
NOTHING = {"rotation": 0, "zoom": 0, "shift": 0, "exposure": 0}
TURN, ZOOM, RIGHT, DOWN, BRIGHTNESS, CONTRAST, GAMMA, FLIP = range(8)


def one(recipe, **draws):
    row = torch.zeros(1, 8)
    for index, value in draws.items():
        row[0, int(index[1:])] = value
    return augment(X[:1], row, recipe)


def test_the_same_draws_change_an_image_the_same_way_whatever_its_batch():
    recipe, draws = AugmentRecipe(), draw(4, generator(0, "augmentation", 1))
    together = augment(X, draws, recipe)
    assert torch.equal(together[2:3], augment(X[2:3], draws[2:3], recipe))
    assert not torch.equal(together, X)


def test_draws_depend_on_the_generator_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, again, other = (draw(4, generator(0, epoch)) for epoch in (1, 1, 2))
    augment(X, first, AugmentRecipe())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_off_changes_nothing():
    assert augment(X, draw(4, generator(0)), AugmentRecipe(enabled=False)) is X
    assert torch.equal(augment(X, draw(4, generator(0)), AugmentRecipe(**NOTHING)), X)


def test_results_stay_images():
    strong = AugmentRecipe(rotation=45, zoom=0.5, shift=0.5, exposure=0.9, flip=True)
    out = augment(X, draw(4, generator(3)), strong)
    assert out.shape == X.shape
    assert 0 <= out.min() <= out.max() <= 1


def test_rotation_is_in_degrees():
    ours = one(AugmentRecipe(**{**NOTHING, "rotation": 20}), _0=0.5)[0, 0].numpy()
    # torchvision turns clockwise, scikit-image counter-clockwise.
    theirs = rotate(X[0, 0].numpy(), -10, order=1, mode="constant")
    inner = slice(8, 25)
    assert abs(ours[inner, inner] - theirs[inner, inner]).max() < 1e-4


def test_shift_is_a_share_of_the_side():
    out = one(AugmentRecipe(**{**NOTHING, "shift": 2 / 33}), _2=1.0, _3=-0.5)
    assert torch.allclose(out[0, 0, 5:25, 7:25], X[0, 0, 6:26, 5:23], atol=1e-4)


def test_zoom_enlarges_about_the_middle():
    out = one(AugmentRecipe(**{**NOTHING, "zoom": 0.5}), _1=1.0)
    assert out[0, 0, 16, 16].item() == pytest.approx(X[0, 0, 16, 16].item(), abs=1e-4)
    assert out[0, 0, 16, 19].item() == pytest.approx(X[0, 0, 16, 18].item(), abs=1e-4)


def test_gamma_within_the_range_and_as_likely_up_as_down():
    recipe = AugmentRecipe(**{**NOTHING, "exposure": 0.15})
    assert torch.allclose(one(recipe, _6=1.0), torch.from_numpy(adjust_gamma(X[:1].numpy(), 1.15)), atol=1e-5)
    assert torch.allclose(one(recipe, _6=-1.0), torch.from_numpy(adjust_gamma(X[:1].numpy(), 1 / 1.15)), atol=1e-5)


def test_contrast_keeps_the_mean_and_brightness_scales_it():
    recipe = AugmentRecipe(**{**NOTHING, "exposure": 0.1})
    assert one(recipe, _5=-1.0).mean().item() == pytest.approx(X[:1].mean().item(), abs=1e-3)
    assert torch.allclose(one(recipe, _4=-1.0), X[:1] * 0.9, atol=1e-5)


def test_never_flipped_unless_asked():
    draws = -torch.ones(1, 8) * torch.tensor([0, 0, 0, 0, 0, 0, 0, 1.0])
    assert torch.allclose(augment(X[:1], draws, AugmentRecipe()), X[:1], atol=1e-4)
    flipped = augment(X[:1], draws, AugmentRecipe(**NOTHING, flip=True))
    assert torch.equal(flipped, X[:1].flip(3))


def test_nothing_of_the_old_changes_where_looks_and_mixing_are_off():
    draws = draw(4, generator(5))
    bank = style_bank(X, AugmentRecipe(style=1), torch.device("cpu"))
    assert torch.equal(augment(X, draws, AugmentRecipe(), bank), augment(X, draws, AugmentRecipe()))


def test_looks_need_a_bank():
    with pytest.raises(BadInput, match="bank"):
        augment(X, draw(4, generator(0)), AugmentRecipe(style=0.5))


def test_all_together_stay_images_whatever_the_batch():
    recipe = AugmentRecipe(style=0.7, augmix=True, augmix_severity=10, augmix_width=2)
    x, draws = X.expand(-1, 3, -1, -1), draw(4, generator(7))
    bank = style_bank(x, recipe, torch.device("cpu"))
    together = augment(x, draws, recipe, bank)
    assert together.shape == x.shape
    assert 0 <= together.min() <= together.max() <= 1
    for row in range(4):
        assert torch.equal(augment(x[row : row + 1], draws[row : row + 1], recipe, bank), together[row : row + 1])
    assert torch.equal(together, augment(x, draws, recipe, style_bank(x, recipe, torch.device("cpu"))))


@pytest.mark.parametrize(
    "changes",
    [
        {"style": 1.5},
        {"style": -0.1},
        {"style_strength": 0},
        {"augmix_severity": 11},
        {"augmix_severity": float("nan")},
        {"augmix_width": 0},
        {"augmix_width": 2.5},
        {"jsd": True},
    ],
)
def test_refuses(changes):
    with pytest.raises(ValidationError):
        AugmentRecipe(**changes)
