# SPDX-License-Identifier: Apache-2.0
"""Corruptions by severity, one grid for each contender."""

import pytest

from radproof.assess.result import CorruptionRow, CorruptionSummary
from radproof.core.records import Estimate
from radproof.reports.corruption import corruption_grids, corruption_words
from radproof.reports.html import render
from radproof.reports.reading import Reading


def near(value, half=0.05):
    return Estimate(value=value, low=value - half, high=value + half, method="m", n=90, patients=61)


def summary(defense, clean, relative=None, **accuracies):
    rows = tuple(
        CorruptionRow(corruption=name, severity=severity, accuracy=near(value), ssim=None)
        for name, values in accuracies.items()
        for severity, value in values.items()
    )
    return CorruptionSummary(
        defense=defense,
        clean=near(clean),
        rows=rows,
        accuracy=near(0.6),
        error=near(0.4),
        kept=near(0.75),
        relative_error=relative,
        reference="none" if relative else "",
    )


BARE = summary("none", 0.8, gamma={1: 0.8, 5: 0.4}, quantum_noise={1: 0.7, 3: 0.1})


@pytest.fixture
def with_summaries(result):
    return lambda *found: result.model_copy(update={"corruptions": found})


def test_a_grid_has_a_box_for_every_severity_of_every_corruption(with_summaries):
    (grid,) = corruption_grids(Reading(with_summaries(BARE)))
    assert grid.severities == (1, 3, 5)
    assert [title for title, _ in grid.rows] == ["gamma", "quantum noise"]
    assert [[box and str(box.shown) for box in boxes] for _, boxes in grid.rows] == [
        ["80 % (75–85)", None, "40 % (35–45)"],
        ["70 % (65–75)", "10 % (5–15)", None],
    ]
    assert "the bare model" in grid.caption
    assert "80 % (75–85)" in grid.caption


def test_the_shade_is_what_is_lost_of_the_clean_accuracy(with_summaries):
    (grid,) = corruption_grids(Reading(with_summaries(BARE)))
    shades = [[box and box.shade for box in boxes] for _, boxes in grid.rows]
    assert shades == [[0, None, 2], [1, 4, None]]  # of five: none, half, an eighth, seven eighths


def test_the_worst_is_told_by_name(with_summaries):
    said = corruption_words(Reading(with_summaries(BARE)))
    assert "Over 2 corruptions, each counted alike, 60 % (55–65)" in said
    assert "75 % (70–80) of the clean accuracy" in said
    assert "Most is lost to quantum noise at severity 3: 10 % (5–15)" in said


@pytest.mark.parametrize(
    ("relative", "expected"),
    [
        (0.8, "it makes fewer errors than the bare model"),
        (0.97, "no difference is established"),
        (1.3, "it makes more errors than the bare model"),
    ],
)
def test_a_difference_is_claimed_only_beyond_the_interval(with_summaries, relative, expected):
    other = summary("jpeg", 0.7, near(relative), gamma={1: 0.6})
    assert corruption_words(Reading(with_summaries(BARE, other))).endswith(f"(mean over corruptions): {expected}.")


def test_every_contender_is_on_the_page(with_summaries, finished):
    others = [summary(name, 0.7, near(0.9), gamma={1: 0.6}) for name in ("jpeg", "tvm")]
    page = render(with_summaries(*others, BARE), finished)
    assert page.index("Corruptions by severity: the bare model") < page.index("Corruptions by severity: jpeg")
    assert "Corruptions by severity: tvm" in page


def test_without_graded_corruptions_only_the_table_stands(result, finished):
    page = render(result.model_copy(update={"corruptions": ()}), finished)
    assert "By severity" not in page
    assert "Answers on visibly changed images" in page
