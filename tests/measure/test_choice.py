# SPDX-License-Identifier: Apache-2.0
"""d′ of a forced choice: closed forms, symmetry, coverage, and what is never claimed from few answers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from radproof.errors import BadInput
from radproof.measure.choice import MOST, d_prime, enough, exact, forced_choice, shown, verdict_of
from radproof.measure.intervals import clopper_pearson


def answers(right: int, n: int) -> list[bool]:
    return [True] * right + [False] * (n - right)


@pytest.mark.parametrize(
    ("proportion", "expected"),
    # Macmillan & Creelman 2005, table A5.2 (d' = √2 z): two decimals as printed there for M = 2
    [(0.50, 0.00), (0.60, 0.36), (0.70, 0.74), (0.75, 0.95), (0.76, 1.00), (0.80, 1.19), (0.90, 1.81), (0.95, 2.33)],
)
def test_d_prime_is_that_of_the_tables(proportion: float, expected: float):
    assert d_prime(proportion) == pytest.approx(expected, abs=0.006)


def test_an_observer_of_known_sensitivity_is_right_as_often_as_signal_detection_says():
    rng = np.random.default_rng(3)
    noise, signal = rng.normal(0, 1, 200_000), rng.normal(1.3, 1, 200_000)
    assert d_prime(float((signal > noise).mean())) == pytest.approx(1.3, abs=0.02)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_right_and_wrong_are_mirror_images(told: tuple[int, int]):
    right, n = told
    one, other = (forced_choice(answers(count, n)).d_prime for count in (right, n - right))
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low), abs=1e-9)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_clopper_and_pearsons_through_the_same_function(told: tuple[int, int]):
    right, n = told
    found, bounds = forced_choice(answers(right, n)), clopper_pearson(right / n, n)
    assert exact(right, n) == pytest.approx(bounds, abs=1e-12)
    for limit, bound in zip((found.d_prime.low, found.d_prime.high), bounds, strict=True):
        expected = math.copysign(MOST, bound - 0.5) if bound in (0, 1) else math.sqrt(2) * stats.norm.ppf(bound)
        assert limit == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("p", [0.0, 0.5, 0.62, 0.8, 0.97, 1.0])
@pytest.mark.parametrize("n", [12, 40, 150])
def test_the_interval_of_one_reader_covers_the_truth_exactly_as_often_as_it_says(p: float, n: int):
    """All outcomes with their probabilities: no simulation is needed."""
    chance = stats.binom.pmf(np.arange(n + 1), n, p)
    bounds = [exact(right, n) for right in range(n + 1)]
    assert sum(c for c, (low, high) in zip(chance, bounds, strict=True) if low <= p <= high) >= 0.95


def test_the_interval_of_several_readers_covers_although_they_answer_about_the_same_images():
    rng = np.random.default_rng(11)
    images, readers, covered, narrow = 40, 4, 0, 0
    ease = stats.norm.ppf(np.linspace(0.002, 0.998, 500)) * 1.2  # how easy images are, on the scale of z
    truth = float(stats.norm.cdf(0.3 + ease).mean())
    for number in range(300):
        p = stats.norm.cdf(0.3 + 1.2 * rng.normal(size=images))
        right = rng.random((readers, images)) < p
        names = [str(image) for _ in range(readers) for image in range(images)]
        found = forced_choice(right.ravel().tolist(), names, readers=readers, seed=number, draws=400).proportion
        covered += found.low <= truth <= found.high
        narrow += exact(int(right.sum()), right.size)[0] <= truth <= exact(int(right.sum()), right.size)[1]
    assert covered / 300 >= 0.92
    assert narrow < covered  # as if they were independent: it would not hold


def test_readers_of_the_same_images_get_a_wider_interval_than_as_many_of_other_images():
    rng = np.random.default_rng(5)
    right = np.tile(rng.random(50) < 0.6, 3)
    same = forced_choice(right.tolist(), [str(row % 50) for row in range(150)], readers=3)
    other = forced_choice(right.tolist(), readers=3)
    assert same.d_prime.high - same.d_prime.low > 1.4 * (other.d_prime.high - other.d_prime.low)
    assert same.images == 50 and "cluster bootstrap over images" in same.proportion.method


def test_equal_questions_get_equal_answers():
    right, names = answers(70, 120), [str(row % 40) for row in range(120)]
    assert forced_choice(right, names) == forced_choice(right, names)


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (1, 2), (5, 10), (10, 20), (25, 50), (50, 100)])
def test_few_answers_never_establish_that_nobody_can_tell(right: int, n: int):
    assert forced_choice(answers(right, n)).verdict != "could not tell"


def test_so_many_answers_are_the_fewest_that_can_establish_it():
    n = enough()
    assert forced_choice(answers(n // 2, n)).verdict == "could not tell"
    assert forced_choice(answers((n - 2) // 2, n - 2)).verdict == "not established"


@pytest.mark.parametrize(
    ("right", "n", "verdict", "words"),
    [
        (60, 120, "could not tell", "could not tell the altered image (60 of 120 right)."),
        (70, 100, "told apart", "could tell the altered image (70 of 100 right)."),
        (20, 100, "the wrong way round", "took the original for the altered image (20 of 100 right)."),
        (11, 20, "not established", "whether the reader could tell is not established (11 of 20 right)."),
        (45, 100, "not established", "is not established"),
    ],
)
def test_the_sentence_says_what_the_interval_supports(right: int, n: int, verdict: str, words: str):
    found = forced_choice(answers(right, n))
    assert found.verdict == verdict == verdict_of(found.proportion)
    assert words in found.sentence and shown(found.d_prime) in found.sentence


def test_all_right_and_all_wrong_are_open_at_one_end():
    all_, none = forced_choice(answers(30, 30)), forced_choice(answers(0, 30))
    assert shown(all_.d_prime).startswith("at least ") and shown(none.d_prime).endswith(" or less")
    assert all_.d_prime.high == MOST and "stands for that or more" in all_.d_prime.method
    assert "stands for that" not in forced_choice(answers(20, 30)).d_prime.method


@pytest.mark.parametrize("n", [1, 10, 40, 150])
def test_all_right_says_at_least_what_the_closed_form_of_the_bound_says(n: int):
    """Clopper and Pearson's lower bound of n of n is (α/2)^(1/n): no count establishes a d′ without end."""
    found = forced_choice([True] * n).d_prime
    assert found.low == pytest.approx(math.sqrt(2) * stats.norm.ppf(0.025 ** (1 / n)), abs=1e-9)
    assert found.low < {1: -2, 10: 0.8, 40: 1.95, 150: 2.8}[n] and found.value == found.high == MOST


@pytest.mark.parametrize("n", [10, 40, 150])
def test_half_right_is_nothing_seen_with_an_interval_that_is_even_about_it(n: int):
    found = forced_choice([True, False] * (n // 2)).d_prime
    assert found.value == pytest.approx(0) and found.low == pytest.approx(-found.high)
    assert found.high > math.sqrt(2) * math.sqrt(math.pi / 2) * 1.96 / math.sqrt(n), "no narrower than the delta method"


def test_nothing_answered_is_nothing_measured():
    found = forced_choice([])
    assert found.d_prime.value is None and found.verdict == "not established" and "not established" in found.sentence


@pytest.mark.parametrize("how", [{"images": ["a"]}, {"confidence": 1.0}])
def test_what_cannot_be_estimated_is_refused(how: dict):
    with pytest.raises(BadInput, match="one image for each answer"):
        forced_choice([True, False], **how)
