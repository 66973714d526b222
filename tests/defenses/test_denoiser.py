"""The denoiser as a defence: minus the noise in front of a model, with a gradient, bound to that model."""

import json

import pytest
import torch
from torch import nn

from radproof.core.rng import generator
from radproof.defenses.defended import Defended
from radproof.defenses.denoiser import CARD, WEIGHTS, Denoiser, DenoiserCard, load_denoiser, save_denoiser
from radproof.defenses.denoiser_net import Dunet
from radproof.errors import BadInput, BadModel

CARD_OF_TWO = DenoiserCard(width=3, depth=2, model="model")


def network(seed=0, width=3, depth=2):
    """A network that no longer adds nothing, and whose statistics are not those it began with."""
    rng = generator(seed, "weights")
    made = Dunet(width, depth)
    for tensor in made.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=rng) * 0.2 + 0.01)
    return made


def denoiser(**more):
    return Denoiser(network(**more), CARD_OF_TWO)


def images(*shape, seed=0):
    return torch.rand(shape, generator=generator(seed, "images")) * 0.5 + 0.1


def clean(part, x):
    return part(x, rng=generator(0))


@pytest.mark.parametrize("shape", [(2, 1, 24, 32), (2, 3, 24, 32), (2, 1, 17, 23), (1, 1, 1, 5), (0, 1, 8, 8)], ids=str)
def test_any_size_and_one_or_three_channels(shape):
    x = images(*shape)
    before, part = x.clone(), denoiser()
    out = clean(part, x)
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    assert torch.equal(x, before)
    assert torch.equal(out, clean(part, x))
    if len(x):
        assert 0 <= out.min() <= out.max() <= 1
        assert not torch.equal(out, x)


def test_a_new_network_changes_nothing():
    x = images(2, 1, 20, 20)
    assert torch.equal(clean(Denoiser(Dunet(3, 2), CARD_OF_TWO), x), x)


def test_what_it_says_is_added_and_cut_to_the_range():
    part, x = denoiser(), images(2, 1, 16, 16)
    with torch.no_grad():
        said = part.network(x)
    assert torch.equal(clean(part, x), (x + said).clamp(0, 1))
    part.network.last.bias.data += 2
    assert torch.equal(clean(part, x), torch.ones_like(x))


def test_channels_are_planes_and_batch_mates_do_not_matter():
    part, x = denoiser(), images(3, 3, 20, 20)
    together = clean(part, x)
    for row in range(3):
        for channel in range(3):
            plane = x[row : row + 1, channel : channel + 1]
            assert torch.allclose(clean(part, plane), together[row : row + 1, channel : channel + 1], atol=1e-6)


def test_padding_repeats_the_edge():
    part, x = denoiser(), images(1, 1, 14, 13)
    padded = nn.functional.pad(x, (0, 3, 0, 2), mode="replicate")
    assert torch.allclose(clean(part, x), clean(part, padded)[:, :, :14, :13], atol=1e-6)


def test_large_batches_go_through_in_portions(monkeypatch):
    part, x = denoiser(), images(5, 1, 16, 16)
    whole = clean(part, x)
    monkeypatch.setattr("radproof.defenses.denoiser._PORTION", 2 * 256)
    assert torch.allclose(clean(part, x), whole, atol=1e-6)


def test_the_surrogate_is_itself_with_its_own_gradient():
    part, x = denoiser(), images(1, 1, 8, 8).double().requires_grad_()
    part.network.double()
    real, twin = clean(part, x), part.surrogate(x, rng=generator(0))
    assert not real.requires_grad
    assert torch.equal(real, twin)
    direction = images(1, 1, 8, 8, seed=1)
    (slope,) = torch.autograd.grad((twin * direction).sum(), x)
    step = torch.zeros_like(x)
    step[0, 0, 3, 4] = 1e-6
    ahead, behind = (clean(part, (x + sign * step).detach()) for sign in (1, -1))
    assert slope[0, 0, 3, 4].item() == pytest.approx(((ahead - behind) * direction).sum().item() / 2e-6, rel=1e-5)


def test_what_it_declares():
    part = denoiser()
    assert (part.deterministic, part.differentiable, part.ways, part.votes) == (True, True, ("twin",), 1)
    assert not part.network.training
    assert not any(p.requires_grad for p in part.network.parameters())


def test_an_adaptive_attacker_climbs_through_both():
    class Sum:
        labels, head, micro_batch = ("a", "b"), "softmax", 8

        def __call__(self, x):
            return torch.stack([x.sum((1, 2, 3)), -x.sum((1, 2, 3))], 1)

    part, x = denoiser(), images(2, 1, 8, 8).requires_grad_()
    logits = Defended(Sum(), part, backward="twin")(x)
    (through,) = torch.autograd.grad(logits[:, 0].sum(), x)
    (alone,) = torch.autograd.grad(part.surrogate(x, rng=generator(0)).sum(), x)
    assert torch.allclose(through, alone, atol=1e-6)


@pytest.mark.parametrize(
    "wrong", [torch.rand(8, 8), torch.full((1, 1, 8, 8), torch.nan), torch.full((1, 1, 8, 8), 9.0)]
)
def test_what_is_no_image_is_refused(wrong):
    part = denoiser()
    for run in (part, part.surrogate):
        with pytest.raises(BadInput):
            run(wrong, rng=generator(0))


# Files


def saved(folder, **more):
    return save_denoiser(folder, network(**more), CARD_OF_TWO)


def test_saved_and_read_it_cleans_alike(tmp_path):
    card = saved(tmp_path)
    read = load_denoiser(tmp_path, "model")
    assert read.card == card
    x = images(2, 1, 16, 16)
    assert torch.equal(clean(read, x), clean(denoiser(), x))
    assert sorted(path.name for path in tmp_path.iterdir()) == [CARD, WEIGHTS]


def test_equal_denoisers_write_equal_bytes(tmp_path):
    for name in ("one", "two"):
        saved(tmp_path / name)
    for file in (CARD, WEIGHTS):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_another_models_denoiser_is_refused(tmp_path):
    saved(tmp_path)
    with pytest.raises(BadModel, match="trained for model model, the model here is another; train one"):
        load_denoiser(tmp_path, "another")


@pytest.mark.parametrize("change", [{"width": 4}, {"depth": 1}, {"width": "wide"}, {"version": 2}, {"extra": 1}])
def test_a_card_that_does_not_fit_is_refused(tmp_path, change):
    saved(tmp_path)
    card = json.loads((tmp_path / CARD).read_text())
    (tmp_path / CARD).write_text(json.dumps({**card, **change}))
    with pytest.raises(BadModel):
        load_denoiser(tmp_path, "model")


def test_other_weights_are_refused(tmp_path):
    saved(tmp_path / "one")
    saved(tmp_path / "two", seed=1)
    (tmp_path / "one" / WEIGHTS).write_bytes((tmp_path / "two" / WEIGHTS).read_bytes())
    with pytest.raises(BadModel, match="is not the file"):
        load_denoiser(tmp_path / "one", "model")


@pytest.mark.parametrize("file", [CARD, WEIGHTS])
def test_missing_and_damaged_files_are_refused(tmp_path, file):
    saved(tmp_path)
    (tmp_path / file).write_bytes(b"\x00nothing")
    with pytest.raises(BadModel):
        load_denoiser(tmp_path, "model")
    (tmp_path / file).unlink()
    with pytest.raises(BadModel, match="no"):
        load_denoiser(tmp_path, "model")
