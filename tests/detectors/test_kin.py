# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from PIL import Image

from radproof.core.depth import EIGHT
from radproof.detectors.benign import benign
from radproof.detectors.kin import firsts, folds, kin
from radproof.detectors.look import Look


def groups_of(*batches):
    return kin([Look(None, batch) for batch in batches]).tolist()


@pytest.mark.parametrize("handling", benign(EIGHT), ids=lambda one: one.name)
def test_a_handled_image_is_the_same_image(pictures, handling):
    x = pictures(20, 0, side=64)
    assert groups_of(x, handling.apply(x, EIGHT)) == [*range(20), *range(20)]


def test_radiographs_of_others_are_other_images(shared):
    files = sorted((shared / "data/nih-chestxray14-320/images").glob("*.png"))[::30]
    x = torch.stack([torch.from_numpy(np.array(Image.open(file).convert("L"))).float()[None] / 255 for file in files])
    assert groups_of(x) == [*range(len(x))]
    assert groups_of(x[:12], *(one.apply(x[:12], EIGHT) for one in benign(EIGHT))) == [*range(12)] * (
        1 + len(benign(EIGHT))
    )


def test_too_few_groups_are_none(pictures):
    x = pictures(4, 0)
    assert groups_of(x, x, x) == [*range(12)]


def test_flat_images_are_no_kin():
    assert groups_of(torch.zeros(12, 1, 16, 16)) == [*range(12)]


def test_no_group_lies_in_two_folds_and_firsts_come_first():
    groups = torch.tensor([0, 1, 2, 1, 0, 3, 3])
    assert firsts(groups).tolist() == [0, 1, 2, 5]
    found = folds(groups, 3)
    assert found.tolist() == [0, 1, 2, 1, 0, 0, 0]
    assert folds(groups, 99).tolist() == groups.tolist()
