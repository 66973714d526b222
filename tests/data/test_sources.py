"""One door to every kind of data set."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from radproof.core.depth import SIXTEEN
from radproof.core.progress import Silent
from radproof.data.images import read_image
from radproof.data.manifest import Manifest
from radproof.data.phantom import draw, phantoms
from radproof.data.phantoms_on_disk import lungs, materialise_phantoms, organs
from radproof.data.sources import open_data
from radproof.data.splits import split
from radproof.errors import BadPlan, UnknownName


class Heard(Silent):
    """Remembers the stages it was told of."""

    def __init__(self):
        self.stages = Counter()
        self.done = Counter()

    def start(self, stage, total):
        self.stages[stage] += total

    def advance(self, stage, amount=1.0):
        self.done[stage] += amount


def test_phantoms_are_drawn_once_and_found_again(tmp_path):
    heard = Heard()
    drawn = open_data("phantom", count=30, size=32, seed=4, cache=tmp_path, progress=heard)
    assert heard.stages == heard.done == {"draw phantoms": 30}
    assert len(drawn) == 30
    assert all(len(drawn.fold(fold)) for fold in ("train", "validation", "test"))
    assert open_data("phantom", count=30, size=32, seed=4, cache=tmp_path, progress=heard) == drawn
    assert heard.done["draw phantoms"] == 30
    other = open_data("phantom", count=30, size=32, seed=5, cache=tmp_path)
    assert not {s.sha256 for s in other.samples} & {s.sha256 for s in drawn.samples}


def test_files_hold_the_very_phantoms(tmp_path):
    made = materialise_phantoms(tmp_path, count=6, size=40, seed=2, bits=16)
    assert Manifest.read(tmp_path) == made
    assert made.source == {"kind": "phantom", "count": 6, "size": 40, "seed": 2, "bits": 16}
    for index, (sample, phantom) in enumerate(zip(made.samples, phantoms(6, size=40, seed=2, bits=16), strict=True)):
        stored = read_image(tmp_path / sample.path)
        assert stored.depth == SIXTEEN
        assert (stored.pixels[:, :, 0] == phantom.image).all()
        assert (sample.labels, sample.patient, sample.view) == ((phantom.label,), phantom.patient, phantom.view)
        assert sample.chain[0]["index"] == index
        again = draw(phantom.label, size=40, seed=2, bits=16, **{k: sample.chain[0][k] for k in ("patient", "image")})
        assert (again.image == phantom.image).all()


def test_the_lungs_of_a_stored_phantom_are_those_it_was_drawn_with(tmp_path):
    made = materialise_phantoms(tmp_path, count=6, size=40, seed=2)
    drawn = list(phantoms(6, size=40, seed=2))
    for sample, phantom in zip(made.samples, drawn, strict=True):
        found = lungs(sample)
        assert found is not None
        assert found.dtype == np.float32
        assert (found == phantom.lungs).all()
        more = organs(sample)
        assert more is not None
        assert (more >= found).all()
        heart = (more > found).nonzero()
        assert 0.02 < len(heart[0]) / more.size < 0.3
        assert heart[1].mean() > 20  # on the image's right
    assert len({phantom.lungs.tobytes() for phantom in drawn}) == 6


def test_lungs_follow_a_phantom_that_was_resampled_or_windowed(tmp_path):
    drawn = open_data("phantom", count=30, size=64, seed=3, cache=tmp_path)
    small = open_data("manifest", drawn.root, size=32, cache=tmp_path)
    before = {sample.id: sample for sample in drawn.samples}
    for after in small.samples:
        large, found = lungs(before[after.id]), lungs(after)
        assert large is not None
        assert found is not None
        assert found.shape == (32, 32)
        shrunk = large.reshape(32, 2, 32, 2).mean((1, 3))
        off = [np.abs(np.asarray(lungs(other)) - shrunk).mean() for other in small.samples if other.id != after.id]
        assert np.abs(found - shrunk).mean() < min(0.04, *off)
    windowed = open_data("phantom", count=30, size=64, seed=3, window=(0.1, 0.9), cache=tmp_path)
    assert all((lungs(s) == lungs(before[s.id])).all() for s in windowed.samples)


def test_only_phantoms_have_known_lungs(folder, tmp_path):
    assert all(
        lungs(sample) is None and organs(sample) is None
        for sample in open_data("folder", folder, cache=tmp_path).samples
    )


def test_some_classes_of_the_phantoms(tmp_path):
    drawn = open_data("phantom", count=30, size=32, classes=("Normal", "Pneumonia"), cache=tmp_path)
    assert drawn.labels == ("Normal", "Pneumonia")
    assert len(drawn) == 20
    with pytest.raises(UnknownName, match="did you mean 'Pneumonia'"):
        open_data("phantom", count=30, size=32, classes=("Normal", "Pneumonai"), cache=tmp_path)
    with pytest.raises(BadPlan, match="one class each"):
        open_data("phantom", count=30, size=32, multi_label=True, cache=tmp_path)


@pytest.fixture
def folder(tmp_path, film, saved):
    for i in range(24):
        saved(tmp_path / "set" / ("A", "B")[i % 2] / f"{i}.png", film(i, 20 + i % 3))
    return tmp_path / "set"


def test_a_folder_is_split_balanced_and_resampled_once(folder, tmp_path):
    heard = Heard()
    how = {"size": 16, "seed": 3, "balance": ("class",), "cache": tmp_path / "cache"}
    found = open_data("folder", folder, progress=heard, **how)
    assert {s.chain[-1]["step"] for s in found.samples} == {"resize"}
    assert all(max(read_image(found.root / s.path).pixels.shape) == 16 for s in found.samples)
    assert found.fold("train").counts() == {"A": 7, "B": 7}
    assert heard.done["import images"] == 24
    assert open_data("folder", folder, progress=heard, **how) == found
    assert heard.done["import images"] == 24
    assert open_data("folder", folder, **{**how, "seed": 4}) != found


def test_a_window_is_applied_on_import_and_told_in_the_chain(folder, tmp_path):
    plain = open_data("folder", folder, cache=tmp_path / "cache")
    found = open_data("folder", folder, window=(0.25, 0.75), cache=tmp_path / "cache")
    steps = found.samples[0].chain
    assert [(step["step"], step["low"], step["high"]) for step in steps] == [("window", 0.25, 0.75)]
    before, after = (read_image(m.root / m.samples[0].path).pixels / 255 for m in (plain, found))
    assert np.abs(after - ((before - 0.25) / 0.5).clip(0, 1)).max() < 1 / 255


def test_a_manifest_keeps_the_folds_it_was_given(folder, tmp_path):
    cache = tmp_path / "cache"
    first = open_data("folder", folder, seed=1, cache=cache)
    first.write(tmp_path / "m" / "manifest.parquet")
    again = open_data("manifest", tmp_path / "m", seed=2, cache=cache)
    assert {s.id: s.fold for s in again.samples} == {s.id: s.fold for s in first.samples}
    unsplit = replace(first, source={}, samples=tuple(replace(s, fold="") for s in first.samples))
    unsplit.write(tmp_path / "u" / "manifest.parquet")
    drawn = open_data("manifest", tmp_path / "u", seed=2, cache=cache)
    assert drawn.samples == split(unsplit, by="patient", seed=2).samples


def test_what_no_source_can_give(release, tmp_path):
    with pytest.raises(BadPlan, match="needs a path"):
        open_data("nih", cache=tmp_path)
    with pytest.raises(BadPlan, match="several findings"):
        open_data("folder", release(), multi_label=True, cache=tmp_path)
    with pytest.raises(UnknownName, match="did you mean 'folder'"):
        open_data("foldr", release(), cache=tmp_path)  # pyright: ignore[reportArgumentType]


def test_the_shared_radiographs_by_their_lists(shared, tmp_path):
    found = open_data("nih", shared / "data" / "nih-chestxray14-320", split="release", cache=tmp_path)
    assert found.fold("test").counts() == {"Normal": 135, "Pneumonia": 138, "Pneumothorax": 8}
    training = {s.patient for s in found.fold("train").samples}
    assert training.isdisjoint(s.patient for s in found.fold("validation").samples)
    assert len(found) == 1098
