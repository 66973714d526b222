# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from radproof.core.rng import generator
from radproof.data.phantom import phantoms
from radproof.detectors.calibrate import calibrate
from radproof.detectors.fitted import fit, restore
from radproof.detectors.kind import describe, thumbnails
from radproof.detectors.novelty import WORDS, novelty
from radproof.errors import BadInput

SIDE = 64


@pytest.fixture(scope="module")
def chests():
    images = [film.image for film in phantoms(300, size=SIDE, seed=3)]
    return torch.from_numpy(np.stack(images)).float()[:, None] / 255


@pytest.fixture(scope="module")
def fitted(model, chests):
    return fit(novelty.make({}), model, chests[:120])


@pytest.fixture(scope="module")
def threshold(fitted, chests):
    return calibrate(fitted.score(chests[120:240]), false_positive_rate=0.01).value


def signs(like, levels):
    return (torch.randint(0, 2, like.shape, generator=generator(0, "signs")) * 2 - 1) * levels / 255


def smooth(n, cells, side=96):
    coarse = torch.rand(n, 1, cells, cells, generator=generator(cells, "smooth"))
    return F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=True).clamp(0, 1)


def other_pictures(n=8, side=96):
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    lines = (torch.rand(n, 1, side, side // 4, generator=generator(0, "text")) > 0.5).repeat_interleave(4, dim=3)
    written = lines & ((torch.arange(side) % 12 < 6) & (torch.arange(side) > 8))[:, None]
    return {
        "photograph": sum(smooth(n, cells) / 2**octave for octave, cells in enumerate((4, 8, 16, 32))) / 2,
        "computed tomogram": (x.square() / 0.8 + y.square() / 0.5 < 1) * (0.35 + 0.3 * smooth(n, 8)),
        "retina": (x.square() + y.square() < 0.9) * (0.35 + 0.25 * smooth(n, 4)),
        "text": 0.95 - 0.8 * written.float(),
        "blank page": torch.full((n, 1, side, side), 0.98),
        "noise": torch.rand(n, 1, side, side, generator=generator(0, "noise")),
        "black": torch.zeros(n, 1, side, side),
        "grey": torch.full((n, 1, side, side), 0.5),
        "thumbnail of 16 pixels": torch.rand(n, 1, 16, 16, generator=generator(1, "noise")),
    }


@pytest.mark.parametrize("what", list(other_pictures(1)))
def test_other_pictures_are_flagged(fitted, threshold, what):
    assert (fitted.score(other_pictures()[what]) > threshold).all()


@pytest.mark.parametrize("turn", [lambda x: 1 - x, *(lambda x, k=k: x.rot90(k, (2, 3)) for k in (1, 2, 3))])
def test_chests_turned_and_inverted_are_flagged(fitted, threshold, chests, turn):
    assert (fitted.score(turn(chests[240:])) > threshold).all()


def test_new_chests_pass(fitted, threshold, chests):
    assert (fitted.score(chests[240:]) > threshold).sum() <= 3


def test_an_attack_of_eight_levels_barely_moves_the_score(fitted, chests):
    x = chests[240:]
    clean = fitted.score(x)
    spread = clean.std()
    for levels in (2, 8):
        moved = (fitted.score((x + signs(x, levels)).clamp(0, 1)) - clean).abs()
        assert moved.quantile(0.9) < 0.6 * spread
    for shift in (-8 / 255, 8 / 255):
        assert (fitted.score((x + shift).clamp(0, 1)) - clean).abs().median() < 0.7 * spread


def test_the_size_does_not_matter(fitted, threshold, chests):
    larger = F.interpolate(chests[240:], size=(150, 131), mode="bilinear", align_corners=False)
    assert (fitted.score(larger) > threshold).double().mean() < 0.1


def test_the_reason_is_told_in_words(fitted, chests):
    upside_down, negative = chests[240:].flip(2), 1 - chests[240:]
    usual, turned, inverted = (fitted.measures(x) for x in (chests[240:], upside_down, negative))
    assert tuple(usual) == WORDS
    assert all(spread.median() < 1.5 for spread in usual.values())
    assert turned["which way is up"].median() > 6
    assert turned["the grey levels"].median() < 1.5
    assert inverted["black for white"].median() > 6


def test_colour_is_unlike_grey_but_an_attack_is_not(model, chests):
    fitted = fit(novelty.make({}), model, chests[:120].expand(-1, 3, -1, -1))
    x = chests[240:].expand(-1, 3, -1, -1)
    limit = calibrate(fitted.score(chests[120:240].expand(-1, 3, -1, -1)), false_positive_rate=0.01).value
    tinted = (x * torch.tensor([1.0, 0.6, 0.4])[:, None, None]).clamp(0, 1)
    assert (fitted.score(tinted) > limit).all()
    assert (fitted.score((x + signs(x, 8)).clamp(0, 1)) > limit).sum() <= 3


@pytest.mark.parametrize(("learnt", "given"), [(1, 3), (3, 1)])
def test_another_number_of_channels_is_refused(model, chests, learnt, given):
    fitted = fit(novelty.make({}), model, chests[:20].expand(-1, learnt, -1, -1))
    with pytest.raises(BadInput, match=f"learnt images with {learnt} channels?, got {given} channels?;"):
        fitted.score(chests[:2].expand(-1, given, -1, -1))


def test_it_does_not_ask_the_model(chests):
    class Mute:
        labels, head, micro_batch = ("a", "b"), "softmax", 7

    fitted = fit(novelty.make({}), Mute(), chests[:30])
    assert torch.isfinite(fitted.score(chests[:3])).all()


def test_the_gradient_is_that_of_the_score(fitted, chests):
    x = chests[240:242].double().requires_grad_()
    (slope,) = torch.autograd.grad(fitted.suspicion(x).sum(), x)
    step = slope / slope.norm() * 1e-5
    change = (fitted.suspicion(x + step) - fitted.suspicion(x - step)).sum()
    assert change.item() == pytest.approx(2 * (slope * step).sum().item(), rel=1e-2)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_the_gradient_of_a_constant_image_is_finite(fitted, level):
    x = torch.full((1, 1, 32, 32), level).requires_grad_()
    (slope,) = torch.autograd.grad(fitted.suspicion(x).sum(), x)
    assert torch.isfinite(slope).all()


def test_state_is_restored_and_another_refused(fitted, model, chests):
    again = restore(novelty.make({}), model, fitted.state())
    assert torch.equal(again.score(chests[:4]), fitted.score(chests[:4]))
    with pytest.raises(BadInput, match="fit this one again"):
        restore(novelty.make({}), model, {"other": torch.zeros(3)})
    with pytest.raises(BadInput, match="fit this one again"):
        restore(novelty.make({}), model, fitted.state() | {"picture.mean": torch.zeros(9)})


def test_grey_levels_by_hand():
    greys = describe(thumbnails(torch.full((1, 1, 32, 32), 1 / 15))).greys[0]
    third = 1 - (1 / 15) / 0.1  # the neighbouring levels are a fifteenth away, and a bin reaches a tenth
    assert greys.tolist() == pytest.approx([third, 1, third] + [0] * 13, abs=1e-5)


def test_real_radiographs(shared, model):
    files = sorted((shared / "data/nih-chestxray14-320/images").glob("*.png"))
    x = torch.from_numpy(np.stack([np.asarray(Image.open(file).convert("L").reduce(5)) for file in files])).float()
    x = x[torch.randperm(len(x), generator=generator(0))][:, None] / 255
    fitted = fit(novelty.make({}), model, x[:250])
    limit = calibrate(fitted.score(x[250:850]), false_positive_rate=0.01).value
    rest = x[850:]

    def flagged(images):
        return (fitted.score(images) > limit).double().mean().item()

    assert flagged(rest) < 0.04
    assert flagged((rest + signs(rest, 8)).clamp(0, 1)) < 0.04
    assert flagged(1 - rest) > 0.98
    assert min(flagged(rest.rot90(k, (2, 3))) for k in (1, 2, 3)) > 0.85
    assert flagged(rest.flip(2)) > 0.9


def test_copies_after_harmless_changes_do_not_make_it_forget_what_is_new(model, chests, fitted):
    """Were an image measured with planes that know its copy, new images would lie far out."""
    clean = chests[:120]
    copied = fit(novelty.make({}), model, clean, {"darker": 0.95 * clean, "brighter": (1.05 * clean).clamp(0, 1)})
    assert copied.score(chests[240:]).median() < 1.3 * fitted.score(chests[240:]).median()
