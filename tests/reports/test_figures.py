"""What the charts show."""

import re

import pytest

from radproof.reports.charts import BOTTOM, LEFT, MOST, RIGHT, TOP
from radproof.reports.figures import accuracy_charts, roc_charts, smallest_chart, training_charts
from radproof.reports.reading import Reading


def numbers(path):
    return [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", path)]


def inside(chart):
    points = [(m.x, y) for s in chart.series for m in s.marks for y in (m.y, m.low, m.high)]
    return all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y in points)


def test_accuracy_falls_from_clean_images_along_the_budgets(reading):
    worst, *single = accuracy_charts(reading)
    assert worst.title == "Ensemble (worst per image)"
    assert [chart.title for chart in single] == ["sia", "stm[acquisition]", "pgn", "usmm"]
    assert [label for _, label in worst.x_ticks] == ["clean", "1", "4"]
    assert worst.x_label == "budget, in 1/255"
    bare = worst.series[0]
    assert bare.name == "no defence"
    assert [m.y for m in bare.marks] == sorted(m.y for m in bare.marks)  # downwards on the page
    assert bare.marks[-1].y == BOTTOM  # 0 %
    assert all(inside(chart) for chart in [worst, *single])


def test_the_alternative_text_tells_the_last_figures(reading):
    chart = accuracy_charts(reading)[0]
    assert chart.alt.endswith("At 4/255: no defence 0 % (0–8); jpeg_tvm 1 % (0–9).")


def test_more_defences_than_lines_can_tell_apart_leave_the_best(result):
    mine = [c for c in result.cells if c.defense == "jpeg_tvm"]
    more = [
        c.model_copy(update={"defense": f"d{k}", "robust_accuracy": c.robust_accuracy and result.cells[0].scores.ece})
        for k in range(6)
        for c in mine
    ]
    charts = accuracy_charts(Reading(result.model_copy(update={"cells": (*result.cells, *more)})))
    names = [s.name for s in charts[0].series]
    assert len(names) == MOST
    assert "jpeg_tvm" not in names  # its headline, 1 %, is the lowest of all


def test_other_budgets_keep_their_names(result):
    cells = tuple(c.model_copy(update={"budget": "0.3"}) if c.budget == "4/255" else c for c in result.cells)
    chart = accuracy_charts(Reading(result.model_copy(update={"cells": cells})))[0]
    assert [label for _, label in chart.x_ticks] == ["clean", "1/255", "0.3"]


def test_smallest_budgets_climb_to_the_share_that_was_fooled(result):
    chart = smallest_chart(result.smallest)
    assert chart is not None
    stored, in_float = chart.series
    assert (stored.name, in_float.name) == ("as stored", "in float")
    heights = [float(y) for y in re.findall(r"V([\d.]+)", stored.path)]
    assert len(heights) == 15  # one of sixteen was never fooled
    assert heights == sorted(heights, reverse=True)
    assert heights[-1] == pytest.approx(BOTTOM - (BOTTOM - TOP) * 15 / 16, abs=0.05)
    places = {float(x) for x in re.findall(r"H([\d.]+)", stored.path)}
    assert len(places) == 3  # 1/255, 2/255, and the end of the axis


def test_a_median_beyond_the_search_is_not_pointed_at(result):
    found = result.smallest
    beyond = found.median_stored.model_copy(update={"value": found.most, "high": found.most})
    chart = smallest_chart(found.model_copy(update={"median_stored": beyond}))
    assert chart is not None
    assert [len(s.marks) for s in chart.series] == [0, 1]
    assert "median as stored ≥16/255 (1–≥16)" in chart.alt


def test_nobody_fooled_is_no_chart(result):
    nobody = result.smallest.model_copy(update={"float_budgets": (None,), "stored_budgets": (None,)})
    assert smallest_chart(nobody) is None


def test_roc_curves_run_from_corner_to_corner(reading):
    charts = roc_charts(reading)
    assert [chart.title for chart in charts] == ["ROC, frequency", "ROC, feature_squeezing"]
    assert len(charts[0].series) == 4
    points = numbers(charts[0].series[0].path)
    assert points[:2] == [LEFT, BOTTOM]
    assert points[-2:] == [RIGHT, TOP]


def test_training_curves_share_an_axis_and_mark_the_change_of_stage(result):
    loss, right = training_charts(result)
    assert [s.name for s in loss.series] == ["training", "validation"]
    assert len(loss.guides) == 1
    assert [s.name for s in right.series] == ["training accuracy", "validation accuracy", "validation AUROC"]


def test_a_model_that_was_not_trained_here_has_no_training_curves(result):
    assert training_charts(result.model_copy(update={"training": None})) == []
    gaps = [{**epoch, "validation_auroc": None} for epoch in result.training["history"]]
    charts = training_charts(result.model_copy(update={"training": {"history": gaps}}))
    assert [line.name for line in charts[1].series] == ["training accuracy", "validation accuracy"]
