"""What is stored stays inside the budget, in integers, and reads back as it was written."""

from math import floor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from radproof.data.storage import check_budget, levels, quantise, read_png, to_unit_tensor, write_png
from radproof.errors import BadInput, BadPlan

depths = st.sampled_from([8, 16])


def pair(seed, bits, reach, shape=(3, 1, 5, 4)):
    """An original on the grid and a float image within `reach` of it, often at the corners of both boxes."""
    rng = torch.Generator().manual_seed(seed)
    clean = torch.randint(0, 2**bits, shape, generator=rng)
    clean = torch.where(torch.rand(shape, generator=rng) < 0.2, clean // 2**bits, clean)
    noise = (torch.rand(shape, generator=rng) * 3 - 1.5).clamp(-1, 1) * reach
    original = to_unit_tensor(clean, bits)
    return clean, original, (original + noise).clamp(0, 1)


@given(st.integers(0, 10**6), depths, st.floats(1 / 65535, 1))
def test_linf_never_leaves_the_whole_number_ball(seed, bits, eps):
    clean, original, adversarial = pair(seed, bits, eps * 1.3)
    stored = quantise(adversarial, original, eps=eps, norm="linf", bits=bits)
    assert stored.dtype == torch.int32
    assert int((stored - clean).abs().max()) <= levels(eps, bits)
    assert int(stored.min()) >= 0
    assert int(stored.max()) <= 2**bits - 1


@given(st.integers(0, 10**6), depths, st.floats(0.001, 3))
def test_l2_never_leaves_the_ball(seed, bits, eps):
    clean, original, adversarial = pair(seed, bits, eps)
    stored = quantise(adversarial, original, eps=eps, norm="l2", bits=bits)
    norms = (stored - clean).double().flatten(1).norm(dim=1)
    assert float(norms.max()) <= eps * (2**bits - 1) + 1e-5
    assert int(stored.min()) >= 0
    assert int(stored.max()) <= 2**bits - 1


@given(st.integers(0, 10**6), depths, st.sampled_from(["linf", "l2", "visible"]))
def test_no_perturbation_stores_the_original(seed, bits, norm):
    clean, original, _ = pair(seed, bits, 0)
    assert torch.equal(quantise(original, original, eps=4 / 255, norm=norm, bits=bits), clean.int())


def test_l2_by_hand():
    original = torch.zeros(1, 1, 1, 4)
    wanted = torch.tensor([1.6, 1.6, 1.6, 0.0]) / 255
    budget = 1.6 * 3**0.5 / 255
    fits = quantise(wanted.view(1, 1, 1, 4), original, eps=budget * 1.3, norm="l2", bits=8)
    assert fits.flatten().tolist() == [2, 2, 2, 0]
    cut = quantise(wanted.view(1, 1, 1, 4), original, eps=budget, norm="l2", bits=8)  # 2, 2, 2 would be longer
    assert cut.flatten().tolist() == [1, 1, 1, 0]


def test_rounding_is_to_the_nearest_and_visible_changes_are_not_bounded():
    original = torch.zeros(1, 1, 1, 2)
    wanted = torch.tensor([200.4, 200.6]).view(1, 1, 1, 2) / 255
    assert quantise(wanted, original, eps=1 / 255, norm="visible", bits=8).flatten().tolist() == [200, 201]
    assert quantise(wanted, original, eps=8 / 255, norm="linf", bits=8).flatten().tolist() == [8, 8]


def test_nan_shapes_and_norms_are_refused():
    x = torch.zeros(1, 1, 2, 2)
    with pytest.raises(BadInput, match="NaN"):
        quantise(x * float("nan"), x, eps=1, norm="linf", bits=8)
    with pytest.raises(BadInput, match="differ in shape"):
        quantise(x, x[:, :, :1], eps=1, norm="linf", bits=8)
    with pytest.raises(BadInput, match="norm must be one of"):
        quantise(x, x, eps=1, norm="l1", bits=8)


@given(st.integers(1, 255))
def test_whole_grey_levels_are_not_lost_to_binary_fractions(n):
    assert levels(n / 255, 8) == n
    assert levels(n / 65535, 16) == n


def test_levels_of_the_usual_ladder():
    assert [levels(eps / 255, 8) for eps in (0.5, 1, 2, 4, 8, 1.5)] == [0, 1, 2, 4, 8, 1]
    assert [levels(eps / 255, 16) for eps in (0.125, 0.25, 0.5, 1)] == [floor(257 * e) for e in (0.125, 0.25, 0.5, 1)]


def test_a_budget_below_one_grey_level_is_refused_with_the_smallest():
    check_budget(1 / 255, 8)
    check_budget(1 / 255 / 8, 16)
    with pytest.raises(BadPlan, match=r"0\.5/255.*8-bit.*smallest usable budget is 1/255.*16 bits") as caught:
        check_budget(0.5 / 255, 8)
    assert caught.value.exit_code == 2
    with pytest.raises(BadPlan, match="1/65535") as caught:
        check_budget(1e-6, 16)
    assert "16 bits" not in str(caught.value)
    with pytest.raises(BadInput, match="8 or 16 bits"):
        check_budget(1, 12)


@given(st.integers(0, 10**6), st.sampled_from([(8, 1), (16, 1), (8, 3)]), st.integers(1, 9), st.integers(1, 9))
def test_written_pixels_read_back_exactly(tmp_path_factory, seed, kind, height, width):
    bits, channels = kind
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 2**bits, (channels, height, width), generator=rng, dtype=torch.int32)
    path = tmp_path_factory.mktemp("png") / "x.png"
    write_png(path, pixels, bits)
    assert torch.equal(read_png(path, channels=channels), pixels)
    first = path.read_bytes()
    write_png(path, pixels.numpy(), bits)
    assert path.read_bytes() == first


def test_other_readers_see_the_same_pixels(tmp_path):
    pixels = np.arange(12, dtype=np.uint16).reshape(1, 3, 4) * 5000
    write_png(tmp_path / "x.png", pixels, 16)
    assert (np.asarray(Image.open(tmp_path / "x.png")) == pixels[0]).all()


@pytest.mark.parametrize(
    ("name", "pixels", "bits", "says"),
    [
        ("x.jpg", np.zeros((1, 2, 2), int), 8, r"\.jpg would change the pixels"),
        ("x", np.zeros((1, 2, 2), int), 8, "no suffix"),
        ("x.png", np.zeros((3, 2, 2), int), 16, "16-bit colour"),
        ("x.png", np.full((1, 2, 2), 256), 8, r"0\.\.255"),
        ("x.png", np.full((1, 2, 2), -1), 16, r"0\.\.65535"),
        ("x.png", np.zeros((1, 2, 2), float), 8, "whole numbers"),
        ("x.png", np.zeros((2, 2), int), 8, r"\(1 or 3, H, W\)"),
        ("x.png", np.zeros((1, 2, 2), int), 12, "8 or 16"),
    ],
)
def test_what_cannot_be_stored_without_loss_is_refused(tmp_path, name, pixels, bits, says):
    with pytest.raises(BadInput, match=says):
        write_png(tmp_path / name, pixels, bits)
    assert not list(tmp_path.iterdir())
