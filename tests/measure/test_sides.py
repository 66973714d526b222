# SPDX-License-Identifier: Apache-2.0
"""Sides of a forced choice: closed forms, recovery of a biased observer, and who is taken for attentive."""

import numpy as np
import pytest
from scipy import stats

from radproof.measure.choice import certain, exact, forced_choice
from radproof.measure.sides import attention, by_chance, catch_trials, looked


def answered(hits: int, lefts: int, alarms: int, rights: int):
    """Correct and "left" of each answer."""
    left = [True] * hits + [False] * (lefts - hits) + [True] * alarms + [False] * (rights - alarms)
    correct = [said == (number < lefts) for number, said in enumerate(left)]
    return correct, left


def test_hits_and_false_alarms_give_macmillan_and_creelmans_d_prime_log_linear():
    found = forced_choice(answered(15, 20, 4, 16)[0], left=answered(15, 20, 4, 16)[1])
    sides = found.sides
    assert (sides.hits, sides.lefts, sides.false_alarms, sides.rights) == (15, 20, 4, 16)
    expected = (stats.norm.ppf(15.5 / 21) - stats.norm.ppf(4.5 / 17)) / np.sqrt(2)
    assert sides.d_prime.value == pytest.approx(expected)
    assert sides.left.value == pytest.approx(19 / 36) and "log-linear" in sides.d_prime.method
    assert sides.d_prime.low < expected < sides.d_prime.high


@pytest.mark.parametrize("bias", [-0.8, 0.0, 0.8])
def test_the_bias_of_an_observer_is_taken_out_where_the_share_right_keeps_it(bias: float):
    rng = np.random.default_rng(2)
    n, d = 100_000, 1.1
    was = rng.random(n) < 0.5
    left, right = rng.normal(d * was, 1), rng.normal(d * ~was, 1)
    said = left - right + bias > 0
    found = forced_choice((said == was).tolist(), left=said.tolist())
    assert found.sides.d_prime.value == pytest.approx(d, abs=0.03)
    if bias:
        assert found.d_prime.value < d - 0.05


def test_the_interval_of_d_prime_covers_about_as_often_as_it_says():
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(400):
        was = rng.random(80) < 0.5
        said = rng.normal(0.7 * was, 1) - rng.normal(0.7 * ~was, 1) + 0.4 > 0
        one = forced_choice((said == was).tolist(), left=said.tolist()).sides.d_prime
        covered += one.low <= 0.7 <= one.high
    assert covered / 400 >= 0.92


@pytest.mark.parametrize("n", [20, 40, 120, 500])
def test_who_always_says_left_is_right_half_the_time_and_is_not_attentive_and_could_not_tell_is_not_said(n: int):
    left = [True] * n
    correct = [number % 2 == 0 for number in range(n)]
    found = forced_choice(correct, left=left)
    judged = attention([], found.sides.left, [1.0] * n)
    assert not judged.attentive and "one side" in judged.why[0] and f"100 % in {n}" not in judged.why[0]
    assert found.proportion.value == 0.5 and found.verdict == "not established"


@pytest.mark.parametrize(
    ("missed", "shown", "attentive"), [(0, 5, True), (1, 3, False), (1, 4, False), (1, 10, False), (0, 0, True)]
)
def test_who_misses_a_catch_trial_is_not_attentive(missed: int, shown: int, attentive: bool):
    even = forced_choice([True, False] * 20, left=[True, False, False, True] * 10).sides.left
    judged = attention([False] * missed + [True] * (shown - missed), even, [3.0, 1.0, 2.0])
    assert judged.attentive is attentive and judged.missed == missed and judged.seconds == 2.0


def test_a_side_share_whose_interval_touches_the_even_range_is_no_reason():
    for count, attentive in ((33, True), (40, False), (7, True), (0, False)):
        left = [True] * count + [False] * (40 - count)
        share = forced_choice([True] * 40, left=left).sides.left
        assert (exact(count, 40)[0] <= 0.8 and exact(count, 40)[1] >= 0.2) is attentive
        assert attention([], share, []).attentive is attentive


def test_could_not_tell_needs_catch_trials_that_were_found():
    even = forced_choice([True, False] * 60, left=[True, True, False, False] * 30)
    assert even.verdict == "could not tell"
    assert certain(even, 12, 12).verdict == "could not tell"
    for caught, shown in ((0, 0), (3, 3), (6, 12)):
        found = certain(even, caught, shown)
        assert found.verdict == "not established" and not looked(caught, shown)
        assert "not enough to know that they looked" in found.sentence
    told = forced_choice([True] * 70 + [False] * 30)
    assert certain(told, 0, 0) == told, "a difference that was seen needs no proof that anybody looked"


def test_could_not_tell_needs_d_prime_without_bias_near_nothing_too():
    """Share right within the margin, d′ far from nothing: a liking for one side hides what was seen."""
    correct, left = answered(190, 200, 182, 200)
    found = forced_choice(correct, left=left)
    assert forced_choice(correct).verdict == "could not tell"
    assert found.sides.d_prime.high > 0.4 and found.verdict == "not established"


def test_catch_trials_are_one_in_ten_and_five_to_ten_of_twenty_or_more():
    assert [catch_trials(n) for n in (1, 9, 10, 19, 20, 40, 60, 120, 500)] == [0, 0, 1, 1, 5, 5, 6, 10, 10]


@pytest.mark.parametrize("trials", [10, 20, 40, 69, 120])
def test_of_readers_who_click_at_random_fewer_than_one_in_twenty_pass_a_test_of_twenty_or_more(trials: int):
    """Every way of clicking through the catch trials, each as likely as any other, judged."""
    even = forced_choice([True, False] * 20, left=[True, False, False, True] * 10).sides.left
    ways = [[bool(n >> place & 1) for place in range(catch_trials(trials))] for n in range(2 ** catch_trials(trials))]
    passing = sum(attention(found, even, []).attentive for found in ways) / len(ways)
    assert passing == by_chance(catch_trials(trials))
    assert passing < 0.05 if trials >= 20 else passing == 0.5


def test_pairs_altered_on_one_side_only_have_no_d_prime_without_bias():
    found = forced_choice([True, False], left=[True, False])
    assert found.sides.d_prime.value is None and found.verdict == "not established"


def test_images_drawn_again_never_narrow_the_interval():
    rng = np.random.default_rng(1)
    correct = np.tile(rng.random(40) < 0.6, 3).tolist()
    left = (np.tile(rng.random(40) < 0.5, 3)).tolist()
    names = [str(row % 40) for row in range(120)]
    same, other = (forced_choice(correct, how, left=left).sides.d_prime for how in (names, None))
    assert same.low < other.low and same.high > other.high and "cluster bootstrap" in same.method
