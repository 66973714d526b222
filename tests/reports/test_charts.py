"""Scales and ticks, worked by hand."""

import pytest

from radproof.core.records import Estimate
from radproof.reports.charts import linear, marks, nice, number_ticks, percent_ticks, polyline


def test_a_scale_maps_ends_onto_ends():
    scale = linear(0, 10, 100, 200)
    assert (scale(0), scale(5), scale(10)) == (100, 150, 200)
    assert linear(3, 3, 100, 200)(3) == 100  # a single value has a place too


def test_marks_leave_out_what_was_not_measured():
    here = Estimate(value=0.5, low=0.25, high=1.0, method="m", n=4)
    nowhere = Estimate(value=None, low=None, high=None, method="m", n=0)
    y = linear(0, 1, 200, 100)
    found = marks([(1, here), (2, nowhere)], linear(0, 2, 0, 20), y)
    assert [(m.x, m.y, m.low, m.high) for m in found] == [(10, 150, 175, 100)]


def test_paths_and_ticks():
    assert polyline([(0, 1.04), (2.55, 3)]) == "M0 1L2.5 3"
    assert polyline([]) == ""
    y = linear(0, 1, 200, 100)
    assert percent_ticks(y)[0] == (200, "0 %")
    assert [label for _, label in number_ticks(2.0, linear(0, 2, 200, 100))] == ["0", "0.5", "1", "1.5", "2"]


@pytest.mark.parametrize(("top", "axis"), [(0.97, 1.0), (1.1, 2), (3, 4), (4.2, 5), (0.031, 0.04), (70, 80), (90, 100)])
def test_axes_end_at_a_round_number(top, axis):
    assert nice(top) == pytest.approx(axis)
