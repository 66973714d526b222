"""Each fault that spoils test figures is found, told with its examples, and fails the audit."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from radproof.core.files import sha256_file
from radproof.core.records import canonical_json
from radproof.data.audit import audit
from radproof.data.findings import Audit, Twins
from radproof.data.manifest import Manifest, Sample


@pytest.fixture
def clean(tmp_path, film, saved):
    """Nine films of nine patients in three folds, as files."""
    samples = []
    for i in range(9):
        path = saved(tmp_path / f"{i}.png", film(i))
        fold = ("train", "validation", "test")[i // 3]
        samples.append(Sample(f"id{i}", path.name, f"p{i}", ("A",), fold, sha256=sha256_file(path)))
    return Manifest(tmp_path, ("A",), tuple(samples), "softmax", {"kind": "folder"})


def changed(manifest, row, **fields):
    samples = list(manifest.samples)
    samples[row] = replace(samples[row], **fields)
    return manifest.only(samples)


def test_a_clean_set_passes(clean):
    found = audit(clean)
    assert not found.failed
    assert found.verifiable
    assert found.folds == {"train": 3, "validation": 3, "test": 3}
    assert found.lines() == ["9 images of 9 patients (train 3, validation 3, test 3)", "passed"]
    assert Audit.model_validate_json(canonical_json(found)) == found


def test_patients_in_two_folds(clean):
    found = audit(changed(clean, 8, patient="p0"))
    assert found.failed
    assert found.shared_patients == ("p0",)
    assert "FAIL: 1 patients in more than one fold" in found.lines()


def test_one_file_in_two_folds(clean):
    shutil.copy(clean.root / "0.png", clean.root / "8.png")
    found = audit(changed(clean, 8, sha256=clean.samples[0].sha256))
    assert found.across == (Twins(kind="file", ids=("id0", "id8"), folds=("train", "test")),)
    assert found.failed
    assert "  file: 0.png (train), 8.png (test)" in found.lines({s.id: s.path for s in clean.samples})
    assert "  file: id0 (train), id8 (test)" in found.lines()


def test_the_same_pixels_in_another_container(clean):
    Image.open(clean.root / "0.png").save(clean.root / "8.tif")
    found = audit(changed(clean, 8, path="8.tif", sha256=""))
    assert found.across == (Twins(kind="pixels", ids=("id0", "id8"), folds=("train", "test")),)
    assert found.failed


@pytest.mark.parametrize("kind", ["altered", "mirrored"])
def test_altered_copies_across_folds(clean, film, saved, kind):
    copy = np.clip(film(0) * 0.9 + 4, 0, 255).astype(np.uint8)
    saved(clean.root / "8.png", copy if kind == "altered" else np.fliplr(copy))
    found = audit(changed(clean, 8, sha256=""))
    (twins,) = found.across
    assert (twins.kind, twins.ids) == (kind, ("id0", "id8"))
    assert 0.93 < twins.likeness <= 1
    assert found.failed
    assert any(line.startswith(f"  {kind}") for line in found.lines())


def test_a_copy_within_a_fold_is_only_noted(clean):
    shutil.copy(clean.root / "0.png", clean.root / "1.png")
    found = audit(changed(clean, 1, sha256=""))
    assert not found.failed
    assert found.twins[0].kind == "file"
    assert "note: 1 films held twice in one fold" in found.lines()


def test_augmented_copies_outside_training_and_their_sources(clean):
    (clean.root / "4.png").rename(clean.root / "0_aug1.png")
    found = audit(changed(clean, 4, path="0_aug1.png"))
    assert found.augmented_outside_training == ("id4",)
    assert found.across == (Twins(kind="name", ids=("id0", "id4"), folds=("train", "validation")),)
    assert found.failed
    noted = changed(clean, 4, chain=({"step": "augmented", "known_from": "file name"},))
    assert audit(changed(clean, 4, path="0_aug1.png", fold="train")).failed is False
    (clean.root / "0_aug1.png").rename(clean.root / "4.png")
    assert audit(noted).augmented_outside_training == ("id4",)


def test_unreadable_changed_and_constant_files(clean, saved):
    (clean.root / "3.png").write_bytes((clean.root / "3.png").read_bytes()[:500])
    saved(clean.root / "4.png", np.zeros((20, 20), np.uint8))
    found = audit(clean)
    assert [bad.id for bad in found.unreadable] == ["id3"]
    assert "truncated" in found.unreadable[0].reason
    assert found.changed == ("id4",)
    assert found.constant == ("id4",)
    assert found.failed
    text = "\n".join(found.lines({s.id: s.path for s in clean.samples}))
    assert "FAIL: 1 unreadable files\n  3.png: the file is truncated" in text
    assert "FAIL: 1 files changed since import\n  4.png" in text
    assert "note: 1 images of one grey level\n  4.png" in text


def test_what_cannot_be_verified_is_said(clean):
    found = audit(clean.only([replace(s, patient="", fold="") for s in clean.samples]))
    assert not found.failed
    assert not found.verifiable
    text = "\n".join(found.lines())
    assert "9 images name no patient; patients in two folds are not verifiable" in text
    assert "not all images are in a fold" in text


def test_long_lists_are_cut(clean):
    found = audit(clean).model_copy(update={"shared_patients": tuple(f"p{i}" for i in range(25))})
    assert found.lines()[-2] == "  … and 15 more"
    assert len(found.lines()) == 14
