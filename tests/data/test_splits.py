"""No patient in two folds, whatever the data; classes in every fold; the same folds from any order."""

import random
from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radproof.data.manifest import Manifest, Sample
from radproof.data.splits import shares, split
from radproof.errors import BadData, BadPlan, UnknownName

LABELS = ("A", "B", "C")


@st.composite
def manifests(draw):
    """Patients with one to four images of any classes, each class with enough patients of its own."""
    owners = draw(st.lists(st.lists(st.sampled_from(LABELS), min_size=1, max_size=4), min_size=9, max_size=40))
    owners = [[label] for label in LABELS * 3] + owners
    samples = [
        Sample(f"{p}.{i}", "", f"p{p}", (label,)) for p, labels in enumerate(owners) for i, label in enumerate(labels)
    ]
    return Manifest(draw(st.just(None)), LABELS, tuple(samples))  # pyright: ignore[reportArgumentType]


def folds_of(manifest):
    folds = defaultdict(set)
    for sample in manifest.samples:
        folds[sample.patient].add(sample.fold)
    return folds


@given(manifests(), st.integers(0, 99))
def test_every_patient_is_in_one_fold_and_every_class_in_all(manifest, seed):
    made = split(manifest, by="patient", seed=seed)
    assert len(made) == len(manifest)
    assert all(len(folds) == 1 for folds in folds_of(made).values())
    assert all(min(made.fold(fold).counts().values()) > 0 for fold in ("train", "validation", "test"))


@given(manifests(), st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(manifest, shuffle: random.Random):
    order = list(manifest.samples)
    shuffle.shuffle(order)
    first, second = split(manifest, by="patient"), split(manifest.only(order), by="patient")
    assert {s.id: s.fold for s in first.samples} == {s.id: s.fold for s in second.samples}


def test_fractions_hold_in_every_class(cohort):
    made = split(cohort({"A": 500, "B": 100, "C": 20}), by="patient", seed=3)
    for label, count in {"A": 500, "B": 100, "C": 20}.items():
        for fold, part in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
            patients = {s.patient for s in made.fold(fold).samples if s.labels == (label,)}
            assert len(patients) == pytest.approx(part * count, abs=1)


def test_seeds_differ_and_are_recorded(cohort):
    data = cohort({"A": 50, "B": 50})
    one, other = split(data, by="patient", seed=1), split(data, by="patient", seed=2)
    assert folds_of(one) != folds_of(other)
    assert one.source["split"] == {"by": "patient", "fractions": [0.6, 0.2, 0.2], "seed": 1}


def test_a_patient_with_a_rare_and_a_common_class_counts_as_rare():
    rows = [Sample(f"r{i}.{k}", "", f"r{i}", (label,)) for i in range(3) for k, label in enumerate(("A", "B"))]
    rows += [Sample(f"a{i}", "", f"a{i}", ("A",)) for i in range(60)]
    for seed in range(5):
        made = split(Manifest(None, ("A", "B"), tuple(rows)), by="patient", seed=seed)  # pyright: ignore
        assert [made.fold(f).counts()["B"] for f in ("train", "validation", "test")] == [1, 1, 1]


def test_images_without_a_patient_are_split_one_by_one(cohort):
    data = cohort({"A": 20, "B": 20})
    made = split(data.only([replace(s, patient="") for s in data.samples]), by="patient")
    assert len(made.fold("train")) == pytest.approx(0.6 * len(data), abs=2)


def test_too_few_patients_name_the_class(cohort):
    with pytest.raises(BadData, match=r"class B has 2 patients.*class without patients in a fold") as caught:
        split(cohort({"A": 20, "B": 2}), by="patient")
    assert caught.value.exit_code == 2


def test_fractions_and_ways_are_checked(cohort):
    data = cohort({"A": 9, "B": 9})
    for fractions in ((0.6, 0.2, 0.1), (0.8, 0.2, 0.0), (1.2, -0.1, -0.1)):
        with pytest.raises(BadPlan, match="sum 1"):
            split(data, by="patient", fractions=fractions)
    with pytest.raises(UnknownName, match="did you mean 'patient'"):
        split(data, by="patients")  # pyright: ignore[reportArgumentType]


def test_a_release_keeps_its_test_list_and_lends_a_quarter_of_its_patients(cohort):
    data = cohort({"A": 100, "B": 40})
    listed = [
        replace(s, fold="" if i < 3 else "test" if int(s.patient[2:]) % 4 == 0 else "train")
        for i, s in enumerate(data.samples)
    ]
    made = split(data.only(listed), by="release", seed=5)
    assert {s.id for s in made.samples if s.fold == "test"} == {s.id for s in listed if s.fold == "test"}
    training = {s.patient for s in listed if s.fold == "train"}
    carved = {s.patient for s in made.fold("validation").samples}
    assert carved < training
    assert len(carved) == pytest.approx(len(training) / 4, abs=2)
    assert all(len(folds) == 1 for p, folds in folds_of(made).items() if p in training)
    assert len(made) == len(data) - 3
    assert made.source["split"]["in no list"] == 3


def test_a_release_with_three_folds_is_left_alone(cohort):
    data = cohort({"A": 9, "B": 9})
    listed = [replace(s, fold=("train", "validation", "test")[int(s.patient[2:]) % 3]) for s in data.samples]
    assert split(data.only(listed), by="release").samples == tuple(listed)


def test_without_lists_there_is_no_release_split(cohort):
    with pytest.raises(BadData, match="no test and train fold of its own"):
        split(cohort({"A": 9, "B": 9}), by="release")


@given(st.integers(0, 500), st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_shares_sum_up_and_leave_nobody_out(total, weights):
    parts = shares(total, weights)
    assert sum(parts) == total
    assert min(parts) >= (1 if total >= len(weights) else 0)


def test_shares_by_hand():
    assert shares(10, [0.6, 0.2, 0.2]) == [6, 2, 2]
    assert shares(7, [1, 1, 1]) == [3, 2, 2]
    assert shares(5, [98, 1, 1]) == [3, 1, 1]
