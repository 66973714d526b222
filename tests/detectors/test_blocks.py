# SPDX-License-Identifier: Apache-2.0
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from radproof.attacks.corruptions.block_transform import BlockTransform
from radproof.core.rng import generator
from radproof.data.phantom import phantoms
from radproof.detectors import fitted
from radproof.detectors.blocks import WORDS, Pieces, block_statistics, blocks
from radproof.detectors.look import Look
from radproof.errors import BadInput

OPERATIONS = ("shuffle", "rot90", "rotate", "roll", "flip")


class Silent:
    """A model that must not be asked."""

    labels, head, micro_batch = ("Normal", "Pneumonia"), "softmax", 16

    def __call__(self, x):
        raise AssertionError("blocks need no model")


@pytest.fixture(scope="module")
def films():
    levels = np.stack([film.image for film in phantoms(64, size=128, seed=1)])
    return torch.from_numpy(levels.astype(np.float32) / 255)[:, None]


@pytest.fixture(scope="module")
def clean(films):
    return films[40:]


@pytest.fixture(scope="module")
def learnt(films):
    return fitted.fit(blocks.make({}), Silent(), films[:40])


@pytest.fixture(scope="module")
def uncoded(films):
    return fitted.fit(blocks.make({"codec": False}), Silent(), films[:40])


def coded(x, quality):
    found = []
    for image in x:
        stream = BytesIO()
        Image.fromarray((image[0] * 255).round().byte().numpy()).save(stream, "JPEG", quality=quality)
        found.append(np.asarray(Image.open(stream)).astype(np.float32) / 255)
    return torch.from_numpy(np.stack(found))[:, None]


def auroc(judge, clean, odd):
    scores = torch.cat([judge.score(clean), judge.score(odd)])
    return roc_auc_score([0] * len(clean) + [1] * len(odd), scores)


@pytest.mark.parametrize("grid", [2, 3, 8])
def test_moved_blocks_are_noticed(learnt, uncoded, clean, grid):
    moved = BlockTransform(grid, OPERATIONS, 1.0, 1.0)(clean, rng=generator(grid))
    assert auroc(learnt, clean, moved) > 0.9
    assert auroc(uncoded, clean, moved) > 0.9


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_way_of_moving_is_noticed(learnt, clean, operation):
    moved = BlockTransform(3, (operation,), 1.0, 1.0)(clean, rng=generator(1))
    assert auroc(learnt, clean, moved) > 0.9


def test_two_blocks_of_nine_and_faint_ones_are_noticed(learnt, clean):
    assert auroc(learnt, clean, BlockTransform(3, OPERATIONS, 0.2, 1.0)(clean, rng=generator(2))) > 0.9
    assert auroc(learnt, clean, BlockTransform(3, OPERATIONS, 1.0, 0.3)(clean, rng=generator(2))) > 0.9


def test_a_low_quality_jpeg_is_noticed(learnt, clean):
    assert auroc(learnt, clean, coded(clean, 20)) > 0.9


def test_without_codec_a_good_jpeg_is_no_matter(learnt, uncoded, clean):
    told, untold = (auroc(judge, clean, coded(clean, 85)) for judge in (learnt, uncoded))
    assert told > 0.95 > 0.9 > untold


def test_noise_of_a_level_is_none_of_its_business(learnt, clean):
    signs = torch.randint(0, 2, clean.shape, generator=generator(3)) * 2 - 1
    assert auroc(learnt, clean, (clean + signs / 255).clamp(0, 1)) < 0.65


def test_moved_blocks_of_radiographs_are_noticed(shared):
    files = sorted((shared / "data/nih-chestxray14-320/images").glob("*.png"))[::20][:65]
    levels = np.stack([np.asarray(Image.open(file).convert("L")) for file in files]).astype(np.float32)
    x = torch.from_numpy(levels / 255)[:, None]
    judge = fitted.fit(blocks.make({}), Silent(), x[:40])
    assert auroc(judge, x[40:], BlockTransform(3, OPERATIONS, 1.0, 1.0)(x[40:], rng=generator(4))) > 0.9


def statistics(levels):
    return dict(zip(WORDS, block_statistics(levels)[0].tolist(), strict=True))


def test_likeness_of_left_and_right():
    half = torch.rand(1, 8, 4, generator=generator(5)).repeat_interleave(8, 1).repeat_interleave(8, 2) * 200
    name = "likeness of left and right"
    assert statistics(torch.cat([half, half.flip(2)], 2))[name] > 3.5
    assert statistics(torch.cat([half, 200 - half.flip(2)], 2))[name] < -1
    assert statistics(torch.full((1, 64, 64), 5.0))[name] == 0


def test_the_jump_of_brightness_by_hand():
    levels = torch.zeros(1, 64, 64)
    levels[..., 32:] = 100  # spread 50; of a 2 × 2 grid, two neighbours differ by 100 and two by nothing
    found = statistics(levels)["how the brightness jumps from block to block, at most"]
    assert found == pytest.approx(1.0, abs=1e-2)


def test_a_turned_block_changes_the_direction_of_edges():
    stripes = (torch.arange(64) // 2 % 2 * 60.0).repeat(1, 64, 1)
    turned = stripes.clone()
    turned[:, :32, :32] = stripes[:, :32, :32].transpose(1, 2)
    name = "how the direction of edges jumps from block to block, at most"
    assert statistics(stripes)[name] < 0.1
    assert statistics(turned)[name] > 0.5


def test_columns_have_words_of_their_own(clean):
    for measure in (Pieces(), Pieces(codec=False)):
        assert len(set(measure.words)) == len(measure.words) == measure(Look(Silent(), clean[:2])).shape[1]


def test_the_word_for_moved_blocks_is_a_seam(learnt, clean):
    said = learnt.measures(BlockTransform(3, OPERATIONS, 1.0, 1.0)(clean[:8], rng=generator(6)))
    assert "seam" in max(said, key=lambda words: said[words].median().item())


def test_soft_is_the_same_number_with_a_gradient_that_leads_back(learnt, clean):
    x = BlockTransform(3, OPERATIONS, 1.0, 1.0)(clean[:3], rng=generator(7))
    start = learnt.score(x)
    assert torch.allclose(learnt.suspicion(x).double(), start, rtol=1e-4)
    for _ in range(10):
        x = x.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(learnt.suspicion(x).sum(), x)
        assert (slope != 0).double().mean() > 0.9
        x = (x.detach() - 1 / 255 * slope.sign()).clamp(0, 1)
    assert (learnt.score(x) < start).all()


def test_three_equal_channels_tell_what_one_does(learnt, clean):
    assert torch.allclose(learnt.score(clean[:4].repeat(1, 3, 1, 1)), learnt.score(clean[:4]), rtol=1e-3)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 16, 16), (1, 16, 45), (3, 33, 17), (1, 131, 16)])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_degenerate_images_have_finite_scores_and_slopes(learnt, shape, value):
    flat = torch.full((2, *shape), value)
    flat[1] = torch.rand(shape, generator=generator(9)) if value else flat[1]
    assert torch.isfinite(learnt.score(flat)).all()
    x = flat.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(learnt.suspicion(x).sum(), x)
    assert torch.isfinite(slope).all()


def test_identical_clean_images_can_be_learnt_from(clean):
    judge = fitted.fit(blocks.make({}), Silent(), clean[:1].repeat(25, 1, 1, 1))
    assert torch.isfinite(judge.score(clean[:3])).all()


def test_what_was_learnt_can_be_restored_by_the_same_alone(learnt, clean):
    back = fitted.restore(blocks.make({}), Silent(), learnt.state())
    assert torch.equal(back.score(clean[:3]), learnt.score(clean[:3]))
    with pytest.raises(BadInput, match="measurements"):
        fitted.restore(blocks.make({"codec": False}), Silent(), learnt.state())
    with pytest.raises(BadInput, match="16"):
        learnt.score(torch.zeros(1, 1, 15, 40))
