# SPDX-License-Identifier: Apache-2.0
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from radproof.errors import BadInput
from radproof.measure.intervals import Resampler, clopper_pearson


def patients(n, each=1):
    return [f"p{row // each}" for row in range(n)]


def test_mean_is_the_plain_mean_and_images_of_one_patient_move_together():
    values = np.repeat(np.random.default_rng(0).normal(size=40), 5)
    clustered = Resampler(patients(200, each=5)).mean(values)
    as_if_independent = Resampler(patients(200)).mean(values)
    assert clustered.value == pytest.approx(values.mean(), abs=1e-12)
    assert (clustered.n, clustered.patients) == (200, 40)
    ratio = (clustered.high - clustered.low) / (as_if_independent.high - as_if_independent.low)
    assert ratio == pytest.approx(5**0.5, rel=0.1)
    assert clustered.method == "cluster bootstrap over patients, 2000 draws, 95 %"


def test_interval_agrees_with_the_normal_theory_of_a_mean():
    values = np.random.default_rng(1).normal(size=400)
    found = Resampler(patients(400)).mean(values)
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_a_wider_confidence_gives_a_wider_interval():
    values = np.random.default_rng(2).normal(size=50)
    narrow, wide = (Resampler(patients(50), confidence=c).mean(values) for c in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(("value", "bounds"), [(0, (0, 0.3085)), (1, (0.6915, 1))])
def test_at_the_ends_the_interval_is_exact_over_patients_not_images(value, bounds):
    found = Resampler(patients(30, each=3)).mean(np.full(30, value))
    assert (found.low, found.high) == pytest.approx(bounds, abs=1e-4)
    assert found.method == "Clopper–Pearson, n = patients, 95 %"


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (3, 11), (11, 11)])
def test_clopper_pearson_equals_scipy(hits, n):
    reference = stats.binomtest(hits, n).proportion_ci(0.9, method="exact")
    assert clopper_pearson(hits / n, n, 0.9) == pytest.approx((reference.low, reference.high), abs=1e-9)
    assert clopper_pearson(0.0, 0) == (0.0, 1.0)


def test_constant_values_that_are_no_proportion_have_no_width():
    sampler = Resampler(patients(9))
    found = sampler.mean(np.full(9, 4 / 255))
    assert found.low == pytest.approx(found.high, abs=1e-15)
    identical = sampler.mean(np.ones(9), proportion=False)
    assert (identical.low, identical.high) == (1, 1)


def test_a_mask_restricts_images_and_an_empty_one_gives_no_number():
    sampler = Resampler(patients(6))
    some = sampler.mean([1, 2, 3, 100, 100, 100], [True, True, True, False, False, False])
    assert (some.value, some.n, some.patients) == (2, 3, 3)
    none = sampler.mean(np.ones(6), np.zeros(6))
    assert (none.value, none.low, none.high, none.n) == (None, None, None, 0)


def test_an_image_without_a_patient_is_its_own():
    assert Resampler(["", "", "a", "a"]).patients() == 3


def test_equal_seeds_give_equal_bits_and_other_seeds_other_draws():
    values = np.random.default_rng(3).random(80)
    one, same, other = (Resampler(patients(80, 2), seed=s).mean(values) for s in (0, 0, 1))
    assert one == same
    assert one.low != other.low


def test_auroc_by_hand_with_a_tie():
    # positives 0.8 and 0.5 against 0.5 and 0.1: wins 1 + 1 + 0.5 + 1 of 4
    found = Resampler(patients(4)).auroc([0.8, 0.5, 0.5, 0.1], [True, True, False, False])
    assert found.value == 3.5 / 4
    assert "of 2000 draws" in found.method  # draws that hold one kind only have no answer


def test_auroc_draws_equal_the_definition_on_repeated_images():
    rng = np.random.default_rng(4)
    scores, positive = rng.integers(0, 6, 25).astype(float), rng.random(25) < 0.4
    sampler = Resampler(patients(25, each=2), draws=30)
    counts = sampler.totals(np.eye(25, dtype=np.int64)).astype(int)
    for weights, found in zip(counts, sampler.auroc_draws(scores, positive), strict=True):
        repeated, label = np.repeat(scores, weights), np.repeat(positive, weights)
        ups, downs = repeated[label][:, None], repeated[~label][None]
        expected = ((ups > downs) + 0.5 * (ups == downs)).mean() if ups.size and downs.size else np.nan
        assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_perfect_auroc_keeps_a_doubt_as_wide_as_the_rarer_kind_allows():
    found = Resampler(patients(12)).auroc(np.arange(12), np.arange(12) >= 8)
    assert found.value == found.high == 1
    assert 0.3 < found.low < 0.7


def test_auroc_of_one_kind_is_no_number():
    assert Resampler(patients(3)).auroc([1, 2, 3], [True] * 3).value is None


def test_median_of_a_sample_and_of_its_draws():
    rng = np.random.default_rng(5)
    values = rng.random(31)
    sampler = Resampler(patients(31, each=2), draws=40)
    counts = sampler.totals(np.eye(31, dtype=np.int64)).astype(int)
    expected = [np.median(np.repeat(values, row)) for row in counts]
    found = sampler.median(values, most=9.0)
    assert found.value == pytest.approx(np.median(values))
    assert found.low == pytest.approx(np.quantile(expected[1:], 0.025))
    assert found.high == pytest.approx(np.quantile(expected[1:], 0.975))
    assert "stands for" not in found.method


def test_median_where_most_images_were_never_fooled_says_so():
    found = Resampler(patients(5)).median([1 / 255, np.inf, np.nan, np.inf, 2 / 255], most=16 / 255)
    assert found.value == found.high == 16 / 255
    assert found.method.endswith("16/255 stands for that or more, the largest tried")


def test_confusion_counts_the_sample_first():
    found = Resampler(patients(4), draws=50).confusion([0, 0, 1, 1], [0, 1, 1, 1], 2)
    assert found[0].tolist() == [[1, 1], [0, 2]]
    assert found.shape == (51, 2, 2)
    assert (found.sum(axis=(1, 2)) == 4).all()


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(6)
    scores, positive = rng.random(60), rng.random(60) < 0.5
    whole = Resampler(patients(60, 3)).auroc(scores, positive)
    monkeypatch.setattr("radproof.measure.intervals._BLOCK", 700)
    assert Resampler(patients(60, 3)).auroc(scores, positive) == whole


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(1, 5))
def test_the_interval_holds_the_value(values, each):
    found = Resampler(patients(len(values), each), draws=60).mean(values)
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize(
    "wrong", [{"patients": []}, {"patients": ["a"], "draws": 0}, {"patients": ["a"], "confidence": 1}]
)
def test_refusals(wrong):
    with pytest.raises(BadInput, match="need at least one image"):
        Resampler(**wrong)


def test_refuses_nan_and_wrong_lengths():
    sampler = Resampler(patients(3))
    with pytest.raises(BadInput, match="leave those images out"):
        sampler.mean([1, np.nan, 2])
    with pytest.raises(BadInput, match="3 images"):
        sampler.mean([1, 2])
    with pytest.raises(BadInput, match="scores hold NaN"):
        sampler.auroc([1, np.nan, 2], [True, False, True])


def test_a_report_of_many_estimates_takes_seconds():
    rng = np.random.default_rng(7)
    sampler = Resampler(patients(400))
    scores, positive = rng.random(400), rng.random(400) < 0.5
    start = time.process_time()
    for _ in range(10):
        sampler.auroc(scores, positive)
        sampler.mean(scores)
    assert time.process_time() - start < 4
