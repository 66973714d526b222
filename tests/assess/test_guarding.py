# SPDX-License-Identifier: Apache-2.0
"""Whose images a guard is calibrated on, and that they are looked at in pieces."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from radproof.assess import guarding
from radproof.assess.guarding import source_of
from radproof.assess.watching import group_names, one_grid
from radproof.core.depth import EIGHT
from radproof.core.progress import SILENT
from radproof.data.manifest import Manifest, Sample
from radproof.errors import BadData
from radproof.models.card import ModelCard


def manifest(root, depths, side=20):
    """Grey images by bits, each of a patient of its own, in turns for training and validation."""
    made = []
    for row, bits in enumerate(depths):
        kind = np.uint8 if bits == 8 else np.uint16
        pixels = np.random.default_rng(row).integers(0, 2**bits - 1, (side, side)).astype(kind)
        Image.fromarray(pixels).save(root / f"{row}.png")
        fold = ("train", "validation")[row % 2]
        made.append(Sample(f"{row:02}", f"{row}.png", f"p{row}", ("a",), fold=fold, sha256=f"{row}"))
    return Manifest(root, ("a", "b"), tuple(made))


def card(fingerprint):
    return ModelCard.model_construct(data_fingerprint=fingerprint)


def test_the_training_data_are_known_by_content_and_folds(tmp_path):
    data = manifest(tmp_path, [8] * 4)
    trained = card(data.fingerprint())
    assert source_of(trained, data) == source_of(trained, data, other=True) == "training"
    first = data.samples[0]
    for changed in (replace(first, fold="validation"), replace(first, sha256="x"), replace(first, labels=("b",))):
        other = data.only([changed, *data.samples[1:]])
        with pytest.raises(BadData, match=r"trained on, or are split otherwise.*--split, --seed.*--other-data"):
            source_of(trained, other)
        assert source_of(trained, other, other=True) == "other"
    with pytest.raises(BadData, match="the card names no training data"):
        source_of(card(""), data)


def test_images_of_two_depths_are_refused_by_name(tmp_path):
    with pytest.raises(BadData, match="images of one depth, and these are stored in 8 bit and 16 bit"):
        one_grid(manifest(tmp_path, [8, 16]))
    one_grid(manifest(tmp_path, [16, 16]))


def test_calibration_images_come_in_pieces_that_are_made_one_change_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(guarding, "PIECE", 3)
    data = manifest(tmp_path, [8] * 14).fold("validation")
    changes = guarding.benign(EIGHT)
    pieces = list(guarding._pieces(data, changes, EIGHT, torch.device("cpu"), SILENT))
    assert [len(piece["clean"]) for piece in pieces] == [3, 3, 1]
    for piece in pieces:
        assert list(piece) == ["clean", *(one.name for one in changes)]
        assert all(torch.equal(piece[one.name](), one.apply(piece["clean"], EIGHT)) for one in changes)
    again = torch.cat([piece["clean"] for piece in pieces])
    assert torch.equal(again[4], torch.from_numpy(np.asarray(Image.open(tmp_path / "9.png")) / np.float32(255))[None])


def test_a_group_is_the_likeliest_finding_as_a_guard_has_it():
    class Findings:
        labels, head = ("a", "b", "c"), "sigmoid"

    logits = torch.tensor([[2.0, 3.0, -1.0], [-2.0, -3.0, -1.0], [0.5, -1.0, -1.0]])
    assert group_names("class", Findings(), logits, []) == ["b", "no finding", "a"]
    assert group_names("view", Findings(), logits, ["PA", "AP", ""]) == ["PA", "AP", ""]
