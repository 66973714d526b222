# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import jensenshannon
from scipy.special import expit, softmax

from radproof.core.rng import generator
from radproof.detectors.autoencoder import Autoencoder, Teaching, teach
from radproof.detectors.fitted import fit, restore
from radproof.detectors.reconstruction import WORDS, divergence, reconstruction
from radproof.errors import BadInput

FEW = {"width": 4, "steps": 30, "crop": 24, "batch": 6}


@pytest.fixture(scope="module")
def fitted(model, pictures):
    return fit(reconstruction.make(FEW), model, pictures(45, 0))


class Level:
    """The brighter, the likelier; for any size of image."""

    labels, head, micro_batch = ("a", "b"), "sigmoid", 4

    def __call__(self, x):
        level = x.mean((1, 2, 3))
        return torch.stack([level, 1 - level], 1)


def error(net, x):
    return (net(x) - x).abs().mean().item()


def test_teaching_lowers_the_error_on_images_not_seen(pictures):
    how = Teaching(width=8, steps=120, crop=24, batch=8, rate=3e-3, seed=0)
    fresh = Autoencoder.drawn(8, generator(0, "autoencoder"))
    taught = teach(pictures(16, 0), how)
    x = pictures(8, 1)
    assert error(taught, x) < 0.5 * error(fresh, x)
    rough = (x + 4 / 255 * torch.randn(x.shape, generator=generator(1))).clamp(0, 1)
    assert (taught(rough) - x).abs().mean() < (rough - x).abs().mean()  # noise is left out


def test_the_seed_decides_alone_and_nothing_global_is_touched(pictures):
    how = Teaching(width=4, steps=3, crop=16, batch=4, rate=3e-3, seed=5)
    before, state = torch.is_grad_enabled(), torch.get_rng_state()
    with torch.no_grad():
        first = teach(pictures(16, 0), how)
        assert not torch.is_grad_enabled()
    torch.manual_seed(99)
    second = teach(pictures(16, 0), how)
    torch.set_rng_state(state)
    third = teach(pictures(16, 0), how)
    assert torch.is_grad_enabled() == before
    assert torch.equal(torch.get_rng_state(), state)
    assert all(
        torch.equal(a, b) and torch.equal(a, c)
        for a, b, c in zip(first.weights, second.weights, third.weights, strict=True)
    )
    assert not any(weight.requires_grad for weight in first.weights)
    other = teach(pictures(16, 0), Teaching(width=4, steps=3, crop=16, batch=4, rate=3e-3, seed=6))
    assert not torch.equal(first.weights[0], other.weights[0])


@pytest.mark.parametrize("shape", [(2, 1, 16, 16), (1, 3, 17, 31), (2, 1, 45, 64)])
def test_any_size_comes_back_in_its_size(shape):
    net = Autoencoder.drawn(4, generator(0))
    x = torch.rand(shape, generator=generator(1))
    assert net(x).shape == x.shape
    each = torch.cat([net(x[:, c : c + 1]) for c in range(shape[1])], 1)
    assert torch.allclose(net(x), each, atol=1e-6)  # channels are planes of their own


def test_a_constant_image_passes_by_the_bottleneck():
    x = torch.full((1, 1, 20, 20), 0.3)
    assert torch.allclose(Autoencoder.drawn(4, generator(0))(x), x, atol=1e-6)  # drawn biases are nought


def test_the_divergence_equals_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 5, (2, 4, 3))
    for temperature in (1.0, 10.0, 40.0):
        found = divergence(torch.from_numpy(a), torch.from_numpy(b), "softmax", temperature)
        p, q = softmax(a / temperature, 1), softmax(b / temperature, 1)
        assert found.tolist() == pytest.approx(jensenshannon(p, q, axis=1) ** 2, rel=1e-6)
        found = divergence(torch.from_numpy(a), torch.from_numpy(b), "sigmoid", temperature)
        p, q = (np.stack([expit(z / temperature), expit(-z / temperature)]) for z in (a, b))
        assert found.tolist() == pytest.approx((jensenshannon(p, q, axis=0) ** 2).mean(1), rel=1e-6)


def test_answers_that_contradict_each_other_differ_by_log_two():
    a = torch.tensor([[1e4, 0.0]], dtype=torch.float64)
    assert divergence(a, a.flip(1), "softmax", 1.0).item() == pytest.approx(np.log(2))
    assert divergence(a, a, "softmax", 1.0).item() == 0


def test_perturbed_images_are_unusual(model, pictures):
    fitted = fit(reconstruction.make({"width": 8, "steps": 150, "crop": 32, "batch": 8}), model, pictures(120, 0))
    clean, x = fitted.score(pictures(40, 1)), pictures(30, 2)
    signs = torch.randint(0, 2, x.shape, generator=generator(3)) * 2 - 1
    noisy = (x + 4 / 255 * signs).clamp(0, 1)
    assert (fitted.score(noisy) > clean.quantile(0.9)).double().mean() > 0.9
    assert (fitted.score(x) > clean.quantile(0.9)).double().mean() < 0.3
    assert fitted.measures(noisy)["the error in quiet parts"].min() > 2


def test_the_reasons_have_words(fitted, pictures):
    found = fitted.measures(pictures(3, 1))
    assert tuple(found) == WORDS
    assert all(spread.shape == (3,) for spread in found.values())


def test_usual_is_learnt_on_images_that_were_not_taught(model, pictures):
    taught = []

    class Counted(type(model)):
        def __call__(self, x):
            taught.append(len(x))
            return super().__call__(x)

    counted = Counted(model.patterns)
    x = pictures(45, 0)
    whole = fit(reconstruction.make(FEW), counted, x)
    assert sum(taught) == 2 * 15  # a third, as it is and rebuilt
    changed = x.clone()
    changed[::3] = 0.5  # what was held out
    other = fit(reconstruction.make(FEW), counted, changed)
    assert all(torch.equal(tensor, other.state()[name]) for name, tensor in whole.state().items() if "weight." in name)


def test_the_gradient_goes_through_both_passes(fitted, pictures):
    x = pictures(2, 4).requires_grad_()
    (slope,) = torch.autograd.grad(fitted.suspicion(x).sum(), x)
    assert torch.isfinite(slope).all()
    assert (slope.flatten(1).abs().sum(1) > 0).all()
    assert torch.allclose(fitted.suspicion(x).detach(), fitted.score(x), rtol=1e-5)


@pytest.mark.parametrize("x", [torch.full((2, 1, 40, 24), 0.5), torch.rand(2, 1, 16, 16), torch.zeros(1, 1, 33, 47)])
def test_edge_images_get_finite_scores_and_gradients(pictures, x):
    fitted = fit(reconstruction.make(FEW), Level(), pictures(20, 0))
    assert torch.isfinite(fitted.score(x)).all()
    (slope,) = torch.autograd.grad(fitted.suspicion(x.requires_grad_()).sum(), x)
    assert torch.isfinite(slope).all()


def test_another_number_of_channels_is_refused(fitted, pictures):
    with pytest.raises(BadInput, match="learnt images with 1 channel, got 3 channels"):
        fitted.score(pictures(2, 1).expand(-1, 3, -1, -1))


def test_state_is_restored_to_the_bit_and_another_refused(fitted, model, pictures):
    x = pictures(4, 2)
    state = fitted.state()
    assert torch.equal(restore(reconstruction.make({}), model, state).score(x), fitted.score(x))
    for bad in ({"other": torch.zeros(3)}, state | {"weight.1": torch.zeros(3, 3, 3, 3)}):
        with pytest.raises(BadInput, match="fit this one again"):
            restore(reconstruction.make({}), model, bad)
    with pytest.raises(BadInput, match="fit this one again"):
        restore(reconstruction.make({}), model, {name: part for name, part in state.items() if name != "channels"})


def test_sign_noise_on_radiographs_is_seen(shared):
    files = sorted((shared / "data/nih-chestxray14-320/images").glob("*.png"))[:160]
    x = torch.stack([torch.from_numpy(np.asarray(Image.open(f).convert("L"))[96:224, 96:224].copy()) for f in files])
    x = x[:, None].float() / 255
    fitted = fit(reconstruction.make({"width": 8, "steps": 150, "batch": 8}), Level(), x[:100])
    signs = torch.randint(0, 2, x[130:].shape, generator=generator(0)) * 2 - 1
    noisy = (x[130:] + 4 / 255 * signs).clamp(0, 1)
    quiet = "the error in quiet parts"
    assert (fitted.measures(noisy)[quiet] > fitted.measures(x[100:130])[quiet].quantile(0.9)).double().mean() > 0.7
    assert fitted.score(noisy).median() > fitted.score(x[100:130]).quantile(0.75)
