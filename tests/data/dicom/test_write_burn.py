# SPDX-License-Identifier: Apache-2.0
"""The burnt-in text: in its box only, bright on dark, and refused where nobody could read it."""

import numpy as np
import pytest

from radproof.data.dicom.burn import box_of, burn
from radproof.errors import BadInput


@pytest.mark.parametrize("shape", [(1024, 1024), (1955, 1841), (320, 320), (224, 224), (128, 128), (90, 3000)])
def test_only_the_box_changes_and_the_letters_stand_out(shape):
    before = np.random.default_rng(0).integers(100, 200, shape, dtype=np.int32)
    kept = before.copy()
    after, box = burn(before, 7, 4000)
    assert (before == kept).all()
    inside = np.zeros(shape, bool)
    inside[box.top : box.bottom, box.left : box.right] = True
    assert (after[~inside] == before[~inside]).all()
    assert set(np.unique(after[inside])) == {7, 4000}
    assert 0.08 < (after[inside] == 4000).mean() < 0.5
    text = after[box.slices] == 4000
    # An edge of background all around, letters nearly as wide as the box.
    assert not (text[0].any() or text[-1].any() or text[:, 0].any() or text[:, -1].any())
    assert box == box_of(*shape)
    assert (box.bottom - box.top) * (box.right - box.left) < 0.2 * before.size
    strokes = np.diff(text.astype(int), axis=1).clip(0).sum(axis=1)
    assert strokes.max() >= 11  # a letter has at least one


def test_an_image_too_small_for_letters_is_refused():
    with pytest.raises(BadInput, match="64x48 pixels is too small"):
        burn(np.zeros((48, 64), np.int32), 0, 1)


def test_the_box_is_told_in_words():
    assert str(box_of(320, 320)).startswith("rows 4-")
