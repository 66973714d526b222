"""Balanced folds and small stratified samples."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radproof.data.manifest import Manifest, Sample
from radproof.data.splits import split
from radproof.data.subsets import balance, take
from radproof.errors import BadData, BadPlan, UnknownName

COUNTS = {"A": 100, "B": 40, "C": 10}
ROWS = [Sample(f"{k}{i}", "", f"p{i // 2}", (k,)) for k, n in COUNTS.items() for i in range(n)]


@pytest.fixture
def divided(cohort):
    return split(cohort({"A": 60, "B": 25, "C": 9}), by="patient")


def test_classes_get_equal_counts_in_each_fold(divided):
    made = balance(divided, by=("class",), seed=1)
    for fold in ("train", "validation", "test"):
        before, after = divided.fold(fold).counts(), made.fold(fold).counts()
        assert set(after.values()) == {min(before.values())}
    assert set(made.samples) <= set(divided.samples)
    assert made.source["balance"]["left_out"] == len(divided) - len(made)


def test_classes_get_equal_counts_in_each_view(divided):
    made = balance(divided, by=("class", "view"))
    counts = Counter((s.fold, s.view, s.labels) for s in made.samples)
    before = Counter((s.fold, s.view, s.labels) for s in divided.samples)
    for fold, view in {(s.fold, s.view) for s in made.samples}:
        least = min(before[fold, view, (label,)] for label in "ABC")
        assert [counts[fold, view, (label,)] for label in "ABC"] == [least] * 3


def test_views_alone(divided):
    counts = Counter((s.fold, s.view) for s in balance(divided, by=("view",)).samples)
    assert all(counts[fold, "AP"] == counts[fold, "PA"] > 0 for fold in ("train", "validation", "test"))


def test_balancing_is_seeded_and_blind_to_order(divided):
    one = {s.id for s in balance(divided, seed=1).samples}
    assert one == {s.id for s in balance(divided.only(divided.samples[::-1]), seed=1).samples}
    assert one != {s.id for s in balance(divided, seed=2).samples}
    assert balance(divided, by=()) is divided


def test_balancing_refuses_what_it_cannot_do(divided):
    with pytest.raises(UnknownName, match="did you mean 'view'"):
        balance(divided, by=("veiw",))  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadPlan, match="one class per image"):
        balance(replace(divided, head="sigmoid"), by=("class",))
    without = divided.only(s for s in divided.samples if (s.fold, s.labels) != ("test", ("C",)))
    with pytest.raises(BadData, match="no image in the test fold"):
        balance(without, by=("class",))


@given(st.integers(1, 200), st.integers(0, 50))
def test_a_subset_has_n_images_in_the_classes_proportions(n, seed):
    data = Manifest(Path("nowhere"), tuple(COUNTS), tuple(ROWS))
    some = take(data, n, seed=seed)
    assert len({s.id for s in some.samples}) == len(some) == min(n, len(data))
    assert [s.id for s in some.samples] == sorted(s.id for s in some.samples)
    for label, count in data.counts().items():
        expected = min(n, len(data)) * count / len(data)
        assert some.counts()[label] >= int(expected) - 2  # two images at most go to classes that had none
        assert some.counts()[label] <= max(expected + 1, 1)
    if n >= 3:
        assert min(some.counts().values()) >= 1


def test_patients_come_first_and_order_does_not_matter(cohort):
    data = cohort({"A": 30, "B": 30})
    for seed in range(5):
        some = take(data, 40, seed=seed)
        assert len(some.patients()) == 40
        assert take(data.only(data.samples[::-1]), 40, seed=seed) == some
    assert take(data, 40, seed=1) != take(data, 40, seed=2)


def test_several_findings_or_none(cohort):
    data = cohort({"A": 20, "B": 5})
    many = [replace(s, labels=() if s.labels == ("A",) else ("A", "B")) for s in data.samples]
    some = take(replace(data, samples=tuple(many), head="sigmoid"), 10)
    assert len(some) == 10
    assert 0 < some.counts()["B"] < 10


def test_no_subset_of_nothing(cohort):
    with pytest.raises(BadPlan, match="at least 1"):
        take(cohort({"A": 3, "B": 3}), 0)
