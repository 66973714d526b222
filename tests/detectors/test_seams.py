# SPDX-License-Identifier: Apache-2.0
from math import log

import pytest
import torch

from radproof.core.rng import generator
from radproof.detectors.seams import CODEC_WORDS, WORDS, seam_statistics, seams

WINDOW, WHOLE, KURTOSIS = WORDS[0], WORDS[3], WORDS[4]


def noise(side, seed=0):
    return 120 + 2 * torch.randn(1, side, side, generator=generator(seed, "seams"))


def told(levels):
    own, codec = seam_statistics(levels)
    return dict(zip((*WORDS, *CODEC_WORDS), [*own[0].tolist(), *codec[0].tolist()], strict=True))


def checks(side, block, seed=0):
    """Noise in squares of different brightness."""
    count = -(-side // block)
    squares = torch.rand(1, count, count, generator=generator(seed, "squares")) * 40
    return noise(side) + squares.repeat_interleave(block, 1).repeat_interleave(block, 2)[:, :side, :side]


def test_one_step_by_hand():
    levels = torch.zeros(1, 16, 20)
    levels[..., 9:] = 10  # nine columns, then ten levels more
    windows, whole = seams(levels)
    expected = torch.zeros(19)
    expected[8] = log(10.5 / 0.5)
    expected[[6, 7, 9, 10]] = log(0.5 / 3.0)
    assert torch.allclose(whole[0], expected, atol=1e-5)
    assert windows.shape == (1, 15, 19) and torch.allclose(windows[0], expected.expand(15, -1), atol=1e-5)


@pytest.mark.parametrize("picture", ["flat", "slope"])
def test_what_has_no_seam_has_none(picture):
    slope = torch.arange(64.0).repeat(1, 64, 1)
    found = told(slope + slope.transpose(1, 2) if picture == "slope" else torch.full((1, 64, 64), 90.0))
    assert list(found.values()) == pytest.approx([0] * len(found), abs=1e-4)


@pytest.mark.parametrize("grid", [2, 3, 5, 7])
def test_the_grid_that_was_cut_speaks_loudest(grid):
    side = 150
    found = told(checks(side, side // grid))
    by_grid = {g: found[f"seams of {g} × {g} blocks"] for g in range(2, 9)}
    assert max(by_grid, key=by_grid.get) == grid
    assert (
        by_grid[grid] == found["seams of the most likely grid"] > told(noise(side))["seams of the most likely grid"] + 1
    )


def test_both_directions_count_alike():
    picture = noise(64, 3)
    picture[:, :, 30:] += 25
    assert told(picture.transpose(1, 2)) == pytest.approx(told(picture), abs=1e-4)


def test_a_short_seam_is_seen_in_its_window():
    plain, cut = noise(160, 1), noise(160, 1)
    cut[:, 40:80, 61:] += 30  # a quarter of the height, at no grid's line
    cut[:, 40:80, 90:] -= 30
    assert told(cut)[WINDOW] > told(plain)[WINDOW] + 0.5
    assert told(cut)[WORDS[2]] > told(plain)[WORDS[2]] + 0.5


def test_one_line_stands_out_by_its_kurtosis():
    cut = noise(160, 2)
    cut[:, :, 61:] += 30
    assert told(cut)[KURTOSIS] > told(noise(160, 2))[KURTOSIS] + 1
    assert told(cut)[WHOLE] > told(noise(160, 2))[WHOLE] + 1


def test_a_codecs_squares_speak_in_columns_of_their_own():
    plain, coded = told(noise(160)), told(checks(160, 8))
    assert coded[CODEC_WORDS[0]] > plain[CODEC_WORDS[0]] + 1
    assert coded[CODEC_WORDS[0]] == coded[CODEC_WORDS[1]]
    for grid in (2, 4, 5):  # all of whose lines are the codec's too
        name = f"seams of {grid} × {grid} blocks"
        assert coded[name] < plain[name] + 0.4


def test_a_codecs_squares_are_found_after_cropping():
    cropped = told(checks(160, 8)[:, 3:, 3:].contiguous())
    assert cropped[CODEC_WORDS[1]] > 1 > 0.3 > cropped[CODEC_WORDS[0]]


def test_the_blocks_of_a_small_image_are_not_taken_for_a_codecs():
    assert told(checks(64, 8))["seams of 8 × 8 blocks"] > 1
