# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from radproof.detectors.calibrate import Threshold, calibrate
from radproof.errors import BadInput


def test_the_order_statistic_by_hand():
    assert calibrate(range(1, 100), false_positive_rate=0.01).value == 99
    assert calibrate(range(1, 20), false_positive_rate=0.05).value == 19
    assert calibrate(range(1, 40), false_positive_rate=0.05).value == 38


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 19), (0.01, 99), (0.1, 9), (0.001, 999)])
def test_refused_below_the_number_that_can_promise_it(rate, needed):
    refused = calibrate(np.arange(needed - 1), false_positive_rate=rate)
    assert refused.value is None
    assert f"at least {needed} are needed" in refused.reason
    assert calibrate(np.arange(needed), false_positive_rate=rate).value == needed - 1


@pytest.mark.parametrize(("rate", "n"), [(0.05, 59), (0.2, 30)])
def test_the_achieved_rate_over_random_splits_is_the_promised_one(rate, n):
    rng = np.random.default_rng(0)
    splits, tests = 200, 300
    achieved = []
    for _ in range(splits):
        scores = rng.exponential(size=n + tests)
        threshold = calibrate(scores[:n], false_positive_rate=rate)
        achieved.append((scores[n:] > threshold.value).mean())
    exact = (n + 1 - math.ceil((n + 1) * (1 - rate))) / (n + 1)
    error = np.std(achieved) / math.sqrt(splits)
    assert exact <= rate
    assert abs(np.mean(achieved) - exact) < 3 * error


def test_ties_flag_no_more_than_promised():
    assert (np.zeros(50) > calibrate(np.zeros(50), false_positive_rate=0.05).value).mean() == 0


@pytest.mark.parametrize(
    "wrong", [{"scores": [1.0, math.nan], "false_positive_rate": 0.05}, {"scores": [1.0], "false_positive_rate": 1.0}]
)
def test_refusals(wrong):
    with pytest.raises(BadInput, match=r"NaN|between 0 and 1"):
        calibrate(**wrong)


def test_a_threshold_reads_back():
    one = calibrate(range(30), false_positive_rate=0.1)
    assert Threshold.model_validate_json(one.model_dump_json()) == one
