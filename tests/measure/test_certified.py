# SPDX-License-Identifier: Apache-2.0
"""Bounds, radii and tests of randomised smoothing, against closed forms, sums of binomial terms and the paper."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.special import erf

from radproof.errors import BadInput
from radproof.measure.certified import (
    certified_at,
    guarantee,
    ladder,
    largest_radius,
    lower_bound,
    majority,
    radius,
    root_mean_square,
)


def at_least(hits: int, n: int, p: float) -> float:
    """P(Binomial(n, p) >= hits), term by term in exact arithmetic."""
    share = Fraction(p)
    return float(sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(hits, n + 1)))


@pytest.mark.parametrize(("hits", "n", "alpha"), [(1, 10, 0.05), (7, 10, 0.05), (60, 100, 0.001), (199, 200, 0.01)])
def test_the_bound_is_where_so_many_hits_become_as_rare_as_alpha(hits, n, alpha):
    assert at_least(hits, n, lower_bound(hits, n, alpha)) == pytest.approx(alpha, rel=1e-8)


def test_where_all_agree_the_bound_is_the_root_of_alpha_and_where_none_does_it_is_0():
    assert lower_bound(1000, 1000, 0.001) == pytest.approx(0.001 ** (1 / 1000), rel=1e-12)
    assert lower_bound(0, 1000, 0.001) == 0


@pytest.mark.parametrize(("hits", "n", "alpha"), [(-1, 10, 0.1), (11, 10, 0.1), (0, 0, 0.1), (1, 2, 0.0), (1, 2, 1.0)])
def test_impossible_counts_are_refused(hits, n, alpha):
    with pytest.raises(BadInput, match="expected 0 <= hits <= n"):
        lower_bound(hits, n, alpha)


@pytest.mark.parametrize("p", [0.6, 0.9, 0.9987])
def test_the_radius_turns_back_into_the_probability(p):
    at = radius(p, 0.25) / 0.25
    assert (1 + erf(at / math.sqrt(2))) / 2 == pytest.approx(p, rel=1e-12)


def test_half_and_less_prove_nothing():
    assert radius(0.5, 1.0) == radius(0.2, 1.0) == radius(0.0, 1.0) == 0


def test_caps_of_the_paper():
    assert largest_radius(1.0, 100_000, 0.001) == pytest.approx(3.81, abs=0.005)
    assert largest_radius(1.0, 1000, 0.001) == pytest.approx(2.46, abs=0.005)
    assert largest_radius(0.5, 1000, 0.001) == pytest.approx(2.46 / 2, abs=0.005)
    assert largest_radius(0.25, 9, 0.001) == 0  # nine draws cannot prove a majority


def test_the_cap_is_what_full_agreement_proves():
    found = guarantee(np.array([0, 7]), np.array([0, 500]), 0.25, 0.001)
    assert found.radius == pytest.approx(largest_radius(0.25, 500, 0.001), rel=1e-12)


def test_the_class_is_chosen_by_the_first_draws_and_judged_by_the_others():
    found = guarantee(np.array([6, 4]), np.array([10, 990]), 0.25, 0.001)
    assert (found.selected, found.hits, found.answer, found.radius) == (0, 10, None, 0)
    found = guarantee(np.array([4, 6]), np.array([10, 990]), 0.25, 0.001)
    assert (found.selected, found.hits, found.answer) == (1, 990, 1)
    assert found.radius == pytest.approx(0.25 * 2.0, abs=0.05)


def two_sided(first: int, second: int) -> float:
    """P(as uneven or more) of a fair coin."""
    n = first + second
    return min(1.0, 2 * at_least(max(first, second), n, 0.5))


@pytest.mark.parametrize("counts", [(14, 6, 0), (15, 5, 0), (6, 14, 3), (3, 5, 15), (20, 0, 0), (10, 10, 0)])
def test_the_first_must_beat_the_second_beyond_chance(counts):
    first, second, _ = sorted(counts, reverse=True)
    expected = int(np.argmax(counts)) if two_sided(first, second) <= 0.05 else None
    assert majority(np.array(counts), 0.05) == expected


def test_fourteen_of_twenty_are_not_enough_and_fifteen_are():
    assert majority(np.array([14, 6]), 0.05) is None
    assert majority(np.array([15, 5]), 0.05) == 0
    assert majority(np.array([15, 5]), 0.03) is None  # 2 % to one side, 4 % to both


def test_without_draws_there_is_no_majority():
    assert majority(np.array([0, 0]), 0.05) is None
    assert majority(np.array([9]), 0.05) == 0


def test_an_l2_norm_spread_over_an_image_is_tiny():
    assert 255 * root_mean_square(0.5, 3 * 224 * 224) == pytest.approx(0.33, abs=0.005)
    assert 255 * root_mean_square(0.5, 224 * 224) == pytest.approx(0.57, abs=0.005)


def test_the_ladder_ends_below_the_cap():
    found = ladder(0.25, largest_radius(0.25, 1000, 0.001))
    assert found[:3] == (0, 0.0625, 0.125)
    assert found[-1] <= largest_radius(0.25, 1000, 0.001) < found[-1] + 0.0625
    assert ladder(0.25, 0.0) == (0,)


def test_certified_accuracy_falls_and_counts_the_wrong_and_the_silent_never():
    right, proved = np.array([True, True, False, True]), np.array([0.1, 0.5, 0.9, 0.3])
    found = certified_at((0.0, 0.3, 0.31, 0.6), right, proved)
    assert found.sum(axis=1).tolist() == [3, 2, 1, 0]
    assert not found[:, 2].any()
