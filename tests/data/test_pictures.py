"""What every importer ends with: PNGs that hold the pixels, and the manifest as the mark that all are there."""

import json

import numpy as np
import pytest

from radproof.core.depth import EIGHT, SIXTEEN
from radproof.data.images import StoredImage, read_image
from radproof.data.inventory import sample_id
from radproof.data.manifest import NAME, Manifest, Sample
from radproof.data.pictures import Picture, materialise
from radproof.errors import BadData, BadImage

HOW = {"labels": ("a", "b"), "head": "softmax", "source": {"kind": "made"}}


def picture(number, depth=EIGHT, **more):
    path = f"folder/{number}.dat"
    pixels = (
        np.random.default_rng(number)
        .integers(0, depth.top + 1, (6, 7, 1))
        .astype(np.uint8 if depth.bits == 8 else np.uint16)
    )
    sample = Sample(sample_id(path), path, f"p{number}", ("ab"[number % 2],))
    return Picture(sample, lambda: StoredImage(pixels, depth), **more), pixels


def test_pixels_sidecars_and_manifest(tmp_path):
    made = [picture(0), picture(1, SIXTEEN, sidecar={"b": 1, "a": [2]}), picture(2)]
    manifest = materialise([one for one, _ in made], tmp_path / "out", **HOW)
    assert Manifest.read(tmp_path / "out").samples == manifest.samples
    assert manifest.source == {"kind": "made"}
    for sample, (one, pixels) in zip(manifest.samples, made, strict=True):
        assert (read_image(manifest.root / sample.path).pixels == pixels).all()
        assert (sample.id, sample.patient, sample.labels) == (one.sample.id, one.sample.patient, one.sample.labels)
    sidecars = list((tmp_path / "out").rglob("*.json"))
    assert [file.name for file in sidecars] == [f"{made[1][0].sample.id}.dicom.json"]
    assert sidecars[0].read_text() == '{"a":[2],"b":1}'
    assert json.loads(sidecars[0].read_text()) == {"b": 1, "a": [2]}


def test_an_error_names_the_path_and_leaves_no_manifest(tmp_path):
    def damaged():
        raise BadImage("no pixels in it")

    good = [picture(number)[0] for number in range(3)]
    materialise(good, tmp_path, **HOW)
    bad = Picture(good[1].sample, damaged)
    with pytest.raises(BadImage, match=r"folder/1\.dat: no pixels in it"):
        materialise([good[0], bad], tmp_path, **HOW)
    assert not (tmp_path / NAME).exists()  # the older one would vouch for the new images
    assert not [file for file in tmp_path.rglob("*") if file.name.endswith(".tmp")]


def test_nothing_twice_nothing_empty(tmp_path):
    one, other = picture(0)[0], picture(1)[0]
    for pictures, says in (([], "no image"), ([one, other, one], "one id"), ([one], "no image shows the class b")):
        with pytest.raises(BadData, match=says):
            materialise(pictures, tmp_path / "out", **HOW)
    assert not (tmp_path / "out").exists()
