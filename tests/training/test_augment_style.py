"""Other scanners' looks: other greys, the same lungs."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from radproof.core.rng import generator
from radproof.data.phantom import LABELS
from radproof.data.phantom import draw as phantom
from radproof.training.augment import augment, draw
from radproof.training.augment_style import MOST, style_bank
from radproof.training.recipe import AugmentRecipe

CPU = torch.device("cpu")
NOTHING = {"rotation": 0, "zoom": 0, "shift": 0, "exposure": 0}


@pytest.fixture(scope="module")
def films():
    drawn = [phantom(LABELS[p % len(LABELS)], size=64, seed=3, patient=p).image / np.float32(255) for p in range(12)]
    return torch.from_numpy(np.stack(drawn)).unsqueeze(1)


def restyled(x, bank_images=None, seed=0, **changes):
    recipe = AugmentRecipe(**{**NOTHING, "style": 1, **changes})
    bank = style_bank(x if bank_images is None else bank_images, recipe, CPU)
    return augment(x, draw(len(x), generator(seed)), recipe, bank)


def test_greys_change_and_structure_stays(films):
    # Structure is judged where a tone curve does not show: by the ranks of the greys.
    def ranks(image):
        return image.flatten().argsort().argsort().reshape(image.shape).numpy() / (image.numel() - 1)

    out = restyled(films)
    assert ((out - films).abs().mean((1, 2, 3)) > 0.01).float().mean() > 0.8
    same = [structural_similarity(ranks(a[0]), ranks(b[0]), data_range=1.0) for a, b in zip(films, out, strict=True)]
    other = structural_similarity(ranks(films[0, 0]), ranks(films[1, 0]), data_range=1.0)
    assert min(same) > 0.8 > other + 0.2
    assert np.mean(same) > 0.92


def test_the_look_comes_from_the_bank(films):
    dark = films**2 * 0.5
    assert restyled(films, dark).mean() < restyled(films, films).mean() - 0.02


def test_the_share_says_how_many(films):
    x = films.repeat(25, 1, 1, 1)
    changed = (restyled(x, films, style=0.3) != x).flatten(1).any(1).double().mean().item()
    assert changed == pytest.approx(0.3, abs=0.08)  # three standard deviations of 300


def test_strength_is_a_blend(films):
    whole, half = restyled(films), restyled(films, style_strength=0.5)
    assert torch.allclose(half, (films + whole) / 2, atol=1e-6)


def test_other_draws_another_look(films):
    assert not torch.equal(restyled(films, seed=1), restyled(films, seed=2))


def test_the_bank_is_a_small_even_sample_and_only_made_where_needed(films):
    many = torch.arange(1000.0).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    held = style_bank(many, AugmentRecipe(style=0.1), CPU).looks.bank[:, 0, 0, 0]
    assert len(held) == MOST
    assert (held[0], held[-1]) == (0, 999)
    assert held.diff().min() >= 7
    assert len(style_bank(films, AugmentRecipe(style=0.1), CPU).looks.bank) == 12
    assert style_bank(films, AugmentRecipe(), CPU) is None
    assert style_bank(films, AugmentRecipe(enabled=False, style=1), CPU) is None
