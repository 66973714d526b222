"""What is stored stays inside the budget, in integers, and reads back as it was written."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from radproof.core.depth import EIGHT, SIXTEEN, Depth
from radproof.data.images import read_image
from radproof.data.storage import check_budget, quantise, quantise_step, read_png, to_unit_tensor, write_png
from radproof.errors import BadImage, BadInput, BadPlan

depths = st.sampled_from([EIGHT, SIXTEEN, Depth(4000), Depth(40)])
held = st.builds(Depth, st.sampled_from([40, 255, 4000, 65535]), st.just(True))


def pair(seed, depth, reach, shape=(3, 1, 5, 4)):
    """An original on the grid and a float image within `reach` of it, often at the corners of both boxes."""
    rng = torch.Generator().manual_seed(seed)
    clean = torch.randint(0, depth.top + 1, shape, generator=rng)
    ends = torch.rand(shape, generator=rng)
    clean = torch.where(ends < 0.2, 0, torch.where(ends > 0.9, depth.top, clean))
    noise = (torch.rand(shape, generator=rng) * 3 - 1.5).clamp(-1, 1) * reach
    original = to_unit_tensor(clean, depth)
    return clean, original, (original + noise).clamp(0, 1)


@given(st.integers(0, 10**6), depths, st.floats(1 / 65535, 1))
def test_linf_never_leaves_the_whole_number_ball(seed, depth, eps):
    clean, original, adversarial = pair(seed, depth, eps * 1.3)
    stored = quantise(adversarial, original, eps=eps, norm="linf", depth=depth)
    assert stored.dtype == torch.int32
    assert int((stored - clean).abs().max()) <= depth.levels(eps)
    assert int(stored.min()) >= 0
    assert int(stored.max()) <= depth.top


@given(st.integers(0, 10**6), depths, st.floats(0.001, 3))
def test_l2_never_leaves_the_ball(seed, depth, eps):
    clean, original, adversarial = pair(seed, depth, eps)
    stored = quantise(adversarial, original, eps=eps, norm="l2", depth=depth)
    norms = (stored - clean).double().flatten(1).norm(dim=1)
    assert float(norms.max()) <= eps * (depth.top) + 1e-5
    assert int(stored.min()) >= 0
    assert int(stored.max()) <= depth.top


@given(st.integers(0, 10**6), depths, st.sampled_from(["linf", "l2", "visible"]))
def test_no_perturbation_stores_the_original(seed, depth, norm):
    clean, original, _ = pair(seed, depth, 0)
    assert torch.equal(quantise(original, original, eps=4 / 255, norm=norm, depth=depth), clean.int())


def test_l2_by_hand():
    original = torch.zeros(1, 1, 1, 4)
    wanted = torch.tensor([1.6, 1.6, 1.6, 0.0]) / 255
    budget = 1.6 * 3**0.5 / 255
    fits = quantise(wanted.view(1, 1, 1, 4), original, eps=budget * 1.3, norm="l2", depth=EIGHT)
    assert fits.flatten().tolist() == [2, 2, 2, 0]
    cut = quantise(wanted.view(1, 1, 1, 4), original, eps=budget, norm="l2", depth=EIGHT)  # 2, 2, 2 would be longer
    assert cut.flatten().tolist() == [1, 1, 1, 0]


def test_rounding_is_to_the_nearest_and_visible_changes_are_not_bounded():
    original = torch.zeros(1, 1, 1, 2)
    wanted = torch.tensor([200.4, 200.6]).view(1, 1, 1, 2) / 255
    assert quantise(wanted, original, eps=1 / 255, norm="visible", depth=EIGHT).flatten().tolist() == [200, 201]
    assert quantise(wanted, original, eps=8 / 255, norm="linf", depth=EIGHT).flatten().tolist() == [8, 8]


def test_nan_shapes_and_norms_are_refused():
    x = torch.zeros(1, 1, 2, 2)
    with pytest.raises(BadInput, match="NaN"):
        quantise(x * float("nan"), x, eps=1, norm="linf", depth=EIGHT)
    with pytest.raises(BadInput, match="differ in shape"):
        quantise(x, x[:, :, :1], eps=1, norm="linf", depth=EIGHT)
    with pytest.raises(BadInput, match="norm must be one of"):
        quantise(x, x, eps=1, norm="l1", depth=EIGHT)


def moved(stored, clean):
    """Grey levels that each image's pixels went by."""
    return (stored - clean).abs().flatten(1)


@given(st.integers(0, 10**6), st.integers(1, 65535), st.booleans(), st.integers(1, 3 * 4 * 65535))
def test_a_budget_is_never_exceeded_in_whole_numbers_whatever_the_top(seed, top, keep, share):
    """The budget is the fraction share / (12 * 65535), and E the whole levels of it, told by integer division."""
    eps = share / (12 * 65535)
    clean, original, adversarial = pair(seed, Depth(top), 1.5 * eps)
    stored = quantise(adversarial, original, eps=eps, norm="linf", depth=Depth(top, keep))
    most = share * top // (12 * 65535)
    assert int(moved(stored, clean).max()) <= most
    assert int(stored.min()) >= 0 and int(stored.max()) <= top
    free = (clean > 0) & (clean < top)
    wanted = (adversarial.double() * top).round().clamp(clean - most, clean + most).clamp(0, top)
    assert torch.equal(stored[free], wanted[free].int())  # and within it nothing is given away


@given(st.integers(0, 10**6), held, st.sampled_from(["linf", "l2", "visible"]), st.floats(0.01, 1))
def test_held_pixels_stay_whatever_the_norm_and_the_others_move_as_ever(seed, depth, norm, eps):
    clean, original, adversarial = pair(seed, depth, eps)
    stored = quantise(adversarial, original, eps=eps, norm=norm, depth=depth)
    ends = (clean == 0) | (clean == depth.top)
    assert torch.equal(stored[ends], clean[ends].int())
    if norm == "l2":
        assert float(moved(stored, clean).double().norm(dim=1).max()) <= eps * depth.top + 1e-5
    else:
        loose = quantise(adversarial, original, eps=eps, norm=norm, depth=Depth(depth.top))
        assert torch.equal(stored[~ends], loose[~ends])


def test_an_l2_budget_is_spent_on_pixels_that_are_free():
    """Eight levels are wanted of each of a held and a free pixel, and eight in all are allowed."""
    original = torch.tensor([0.0, 100.0]).view(1, 1, 1, 2) / 200
    wanted = torch.tensor([8.0, 108.0]).view(1, 1, 1, 2) / 200
    kept = [quantise(wanted, original, eps=8 / 200, norm="l2", depth=Depth(200, h)).flatten() for h in (True, False)]
    assert [one.tolist() for one in kept] == [[0, 108], [5, 105]]


def test_a_budget_below_one_grey_level_is_refused_with_the_smallest():
    check_budget(1 / 255, EIGHT)
    check_budget(1 / 255 / 8, SIXTEEN)
    check_budget(1 / 40, Depth(40))
    with pytest.raises(BadPlan, match=r"0\.5/255.*8-bit.*smallest usable budget is 1/255.*16 bits") as caught:
        check_budget(0.5 / 255, EIGHT)
    assert caught.value.exit_code == 2
    with pytest.raises(BadPlan, match="1/65535") as caught:
        check_budget(1e-6, SIXTEEN)
    assert "16 bits" not in str(caught.value)
    with pytest.raises(
        BadPlan, match=r"1/255 is below one of this image's 41 grey levels.*1/40 \(0\.025\): raise the budget$"
    ):
        check_budget(1 / 255, Depth(40, held=True))


KINDS = [(EIGHT, 1), (SIXTEEN, 1), (EIGHT, 3), (Depth(4000, held=True), 1), (Depth(40), 3)]


@given(
    st.integers(0, 10**6),
    st.sampled_from(KINDS),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_written_pixels_read_back_exactly(tmp_path_factory, seed, kind, height, width):
    depth, channels = kind
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, depth.top + 1, (channels, height, width), generator=rng, dtype=torch.int32)
    path = tmp_path_factory.mktemp("png") / "x.png"
    write_png(path, pixels, depth)
    assert read_image(path).depth == (SIXTEEN if depth.top > 255 else EIGHT)  # the container's own
    assert torch.equal(read_png(path, depth, channels=channels), pixels)
    first = path.read_bytes()
    write_png(path, pixels.numpy(), depth)
    assert path.read_bytes() == first


def test_other_readers_see_the_same_pixels(tmp_path):
    pixels = np.arange(12, dtype=np.uint16).reshape(1, 3, 4) * 5000
    write_png(tmp_path / "x.png", pixels, SIXTEEN)
    assert (np.asarray(Image.open(tmp_path / "x.png")) == pixels[0]).all()


@pytest.mark.parametrize(
    ("name", "pixels", "depth", "says"),
    [
        ("x.jpg", np.zeros((1, 2, 2), int), EIGHT, r"\.jpg would change the pixels"),
        ("x", np.zeros((1, 2, 2), int), EIGHT, "no suffix"),
        ("x.png", np.zeros((3, 2, 2), int), SIXTEEN, "16-bit colour"),
        ("x.png", np.full((1, 2, 2), 256), EIGHT, r"0\.\.255"),
        ("x.png", np.full((1, 2, 2), -1), SIXTEEN, r"0\.\.65535"),
        ("x.png", np.zeros((1, 2, 2), float), EIGHT, "whole numbers"),
        ("x.png", np.zeros((2, 2), int), EIGHT, r"\(1 or 3, H, W\)"),
        ("x.png", np.zeros((3, 2, 2), int), Depth(256), "16-bit colour"),
        ("x.png", np.full((1, 2, 2), 4001), Depth(4000), r"0\.\.4000 for 4001 grey levels"),
    ],
)
def test_what_cannot_be_stored_without_loss_is_refused(tmp_path, name, pixels, depth, says):
    with pytest.raises(BadInput, match=says):
        write_png(tmp_path / name, pixels, depth)
    assert not list(tmp_path.iterdir())


def test_a_grey_level_beyond_the_depth_is_not_read(tmp_path):
    write_png(tmp_path / "x.png", np.full((1, 2, 2), 4000), Depth(4000))
    assert int(read_png(tmp_path / "x.png", Depth(4000)).max()) == 4000
    with pytest.raises(BadImage, match="holds the grey level 4000, and its levels end at 3999"):
        read_png(tmp_path / "x.png", Depth(3999))


def test_chains_tell_bits_where_grey_levels_fill_them():
    assert [quantise_step(depth) for depth in (EIGHT, SIXTEEN)] == [{"step": "quantise", "bits": b} for b in (8, 16)]
    assert quantise_step(Depth(4000)) == {"step": "quantise", "top": 4000, "held": False}
    assert quantise_step(Depth(255, held=True)) == {"step": "quantise", "top": 255, "held": True}
