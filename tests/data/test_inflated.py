"""Copies made before a split: counted, marked, and found by the audit when they leak."""

import numpy as np

from radproof.data.audit import audit
from radproof.data.augmented import is_augmented
from radproof.data.images import read_image
from radproof.data.inflated import inflate
from radproof.data.phantoms_on_disk import materialise_phantoms
from radproof.data.sources import open_data
from radproof.data.splits import split


def test_classes_are_filled_up_with_changed_copies_of_the_same_patient(tmp_path):
    manifest = materialise_phantoms(tmp_path / "drawn", count=12, size=32, seed=1)
    label = manifest.labels[0]
    some = manifest.only([s for i, s in enumerate(manifest.samples) if s.labels != (label,) or i < 6])
    made = inflate(some, 7, tmp_path / "inflated", seed=3)
    assert set(made.counts().values()) == {7}
    of = {s.id: s for s in some.samples}
    copies = [s for s in made.samples if is_augmented(s)]
    assert len(copies) == len(made) - len(some)
    for copy in copies:
        original = of[copy.chain[-1]["of"]]
        assert (copy.patient, copy.labels) == (original.patient, original.labels)
        before, after = (read_image(m.root / s.path).pixels for m, s in ((some, original), (made, copy)))
        assert before.shape == after.shape
        assert np.abs(before.astype(int) - after).mean() > 1
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.5
    assert len({s.sha256 for s in copies}) == len(copies)
    assert inflate(some, 7, tmp_path / "again", seed=3).samples == made.samples
    assert inflate(some, 7, tmp_path / "other", seed=4).samples != made.samples


def test_a_split_by_image_leaks_and_the_audit_says_so(tmp_path):
    leaky = open_data("phantom", count=30, size=32, seed=2, inflate=20, split="image", cache=tmp_path)
    honest = open_data("phantom", count=30, size=32, seed=2, inflate=20, split="patient", cache=tmp_path)
    assert len(leaky) == len(honest) == 60
    assert audit(leaky).shared_patients
    assert not audit(honest).shared_patients
    assert audit(leaky).augmented_outside_training


def test_a_split_by_image_only_moves_images(cohort):
    manifest = cohort({"A": 40, "B": 30})
    made = split(manifest, by="image", seed=1)
    assert [s.patient for s in made.samples] == [s.patient for s in manifest.samples]
    assert abs(len(made.fold("test")) - 0.2 * len(made)) <= 2
