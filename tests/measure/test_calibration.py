# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from radproof.measure.calibration import brier, expected_calibration_error, fit_temperature, losses, probabilities


def test_calibration_error_by_hand():
    # two bins of 15: 0.9 claimed twice and right once; 0.6 claimed twice and right twice
    found = expected_calibration_error([0.9, 0.9, 0.6, 0.6], [True, False, True, True])
    assert found == pytest.approx((abs(1 - 1.8) + abs(2 - 1.2)) / 4)


def test_the_edges_of_the_bins_belong_to_a_bin():
    assert expected_calibration_error([0.0, 1.0], [False, True]) == 0


def test_brier_by_hand():
    assert brier([[0.8, 0.2]], [1], "softmax") == pytest.approx(0.64 + 0.64)
    assert brier([[0.8, 0.2]], [[1, 0]], "sigmoid") == pytest.approx(0.04)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_the_temperature_undoes_a_known_one(head):
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(4000, 3)) * 2
    p = probabilities(honest, head)
    if head == "softmax":
        y = (p.cumsum(axis=1) > rng.random((4000, 1))).argmax(axis=1)
    else:
        y = (rng.random(p.shape) < p).astype(float)
    found = fit_temperature(3 * honest, y, head)
    assert found == pytest.approx(3, rel=0.1)
    around = [losses(3 * honest / (found * f), y, head).mean() for f in (0.9, 1.0, 1.1)]
    assert around[1] == min(around)


def test_the_temperature_stays_within_its_bounds():
    assert 0.05 <= fit_temperature([[1.0, 0.0]], [0], "softmax") < 0.051
