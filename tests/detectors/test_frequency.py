# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from PIL import Image

from radproof.core.rng import generator
from radproof.data.phantom import phantoms
from radproof.detectors import fitted
from radproof.detectors.calibrate import calibrate
from radproof.detectors.frequency import Grain, frequency
from radproof.detectors.look import Look
from radproof.errors import BadInput


class Silent:
    """A model that must not be asked."""

    labels, head, micro_batch = ("Normal", "Pneumonia"), "softmax", 16

    def __call__(self, x):
        raise AssertionError("the grain needs no model")


@pytest.fixture(scope="module")
def learnt(pictures):
    return fitted.fit(frequency.make({}), Silent(), pictures(120, 0))


def signs(like, levels, seed=0):
    return (torch.randint(0, 2, like.shape, generator=generator(seed, "signs")) * 2 - 1) * levels / 255


def detected(judge, calibration, x):
    threshold = calibrate(judge.score(calibration), false_positive_rate=0.05)
    return (judge.score(x) > threshold.value).double().mean().item()


def test_one_grey_level_of_sign_noise_is_seen(learnt, pictures):
    x = pictures(60, 2)
    assert detected(learnt, pictures(60, 1), x) < 0.2
    assert detected(learnt, pictures(60, 1), (x + signs(x, 1)).clamp(0, 1)) > 0.9


def test_one_grey_level_on_radiographs_is_seen(shared):
    files = sorted((shared / "data/nih-chestxray14-320/images").glob("*.png"))[::8][:180]
    levels = np.stack([np.asarray(Image.open(file).convert("L"))[64:256, 64:256] for file in files])
    x = torch.from_numpy(levels.astype(np.float32) / 255)[:, None]
    judge = fitted.fit(frequency.make({}), Silent(), x[:100])
    noisy = (x[150:] + signs(x[150:], 1)).clamp(0, 1)
    assert detected(judge, x[100:150], x[150:]) < 0.2
    assert detected(judge, x[100:150], noisy) > 0.9


def test_finer_grey_levels_alarm_less_than_one_level_of_noise():
    def films(seed, bits):
        levels = np.stack([film.image for film in phantoms(30, size=64, seed=seed, bits=bits)])
        return torch.from_numpy(levels.astype(np.float32) / (2**bits - 1))[:, None]

    judge = fitted.fit(frequency.make({}), Silent(), films(1, 8))
    usual, finer = judge.score(films(2, 8)), judge.score(films(2, 16))
    noisy = judge.score((films(2, 8) + signs(films(2, 8), 1)).clamp(0, 1))
    assert (finer - usual).median() < 0.3 * (noisy - usual).median()


def test_columns_have_words_of_their_own(pictures):
    grain = Grain()
    assert len(set(grain.words)) == len(grain.words) == grain(Look(Silent(), pictures(2, 1))).shape[1]


def test_the_word_for_sign_noise_is_about_small_differences(learnt, pictures):
    x = pictures(8, 3)
    said = learnt.measures((x + signs(x, 1)).clamp(0, 1))
    strongest = max(said, key=lambda words: said[words].median().item())
    assert "differences" in strongest or "wavelets" in strongest or "cosines" in strongest
    assert said[strongest].median() > 4


def test_soft_is_the_same_number_with_a_gradient_that_leads_back(learnt, pictures):
    clean = pictures(6, 4)
    x = (clean + signs(clean, 2)).clamp(0, 1)
    start = learnt.score(x)
    assert torch.allclose(learnt.suspicion(x).double(), start, rtol=1e-4, atol=1e-3)
    for _ in range(20):
        x = x.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(learnt.suspicion(x).sum(), x)
        assert (slope != 0).double().mean() > 0.9
        x = (x.detach() - 0.1 / 255 * slope.sign()).clamp(0, 1)
    assert (learnt.score(x) / start).median() < 0.8


def test_three_equal_channels_tell_what_one_does(learnt, pictures):
    x = pictures(4, 5)
    alone, thrice = learnt.score(x), learnt.score(x.expand(-1, 3, -1, -1))
    assert torch.equal(alone, thrice)
    assert torch.allclose(learnt.suspicion(x.repeat(1, 3, 1, 1)).double(), alone, rtol=1e-4)


def test_a_colour_image_is_the_mean_of_its_channels(pictures):
    grain, x = Grain(), torch.cat([pictures(2, 6), pictures(2, 7), pictures(2, 8)], dim=1)
    single = [grain(Look(Silent(), x[:, c : c + 1])) for c in range(3)]
    assert torch.allclose(grain(Look(Silent(), x)), torch.stack(single).mean(0), atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 16, 16), (1, 16, 45), (3, 33, 17), (1, 61, 16)])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_degenerate_images_have_finite_scores_and_slopes(learnt, shape, value):
    flat = torch.full((2, *shape), value)
    flat[1] = flat[1] if value else torch.rand(shape, generator=generator(9))
    assert torch.isfinite(learnt.score(flat)).all()
    x = flat.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(learnt.suspicion(x).sum(), x)
    assert torch.isfinite(slope).all()


def test_identical_clean_images_can_be_learnt_from(pictures):
    judge = fitted.fit(frequency.make({}), Silent(), pictures(1, 0).repeat(25, 1, 1, 1))
    assert torch.isfinite(judge.score(pictures(3, 1))).all()


def test_smaller_than_a_neighbourhood_is_refused(learnt):
    with pytest.raises(BadInput, match="16"):
        learnt.score(torch.zeros(1, 1, 15, 40))


def test_what_was_learnt_can_be_restored(learnt, pictures):
    back = fitted.restore(frequency.make({}), Silent(), learnt.state())
    assert torch.equal(back.score(pictures(3, 1)), learnt.score(pictures(3, 1)))
