# SPDX-License-Identifier: Apache-2.0
"""Graded corruptions per contender, against figures worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from radproof.assess.answers import Answered
from radproof.assess.corruption import corruption_summaries
from radproof.assess.jobs import Job
from radproof.measure.intervals import Resampler

N = 8


def right(wrong: int) -> np.ndarray:
    return np.arange(N) >= wrong


def answered(kind, label, wrong, defense="none", /, **params):
    values = np.zeros(N)
    return Answered(
        job=Job(kind, label, params),
        defense=defense,
        column="clean" if kind == "clean" else "corruption",
        rows=np.arange(N),
        logits=np.zeros((N, 2)),
        right=right(wrong),
        confidence=values,
        clean_right=right(0),
        clean_confidence=values,
        reached=~right(wrong),
        measures={"ssim": np.full(N, 0.9)} if kind != "clean" else {},
    )


@pytest.fixture
def measurer():
    resampler = Resampler([str(k) for k in range(N)], draws=200)
    return SimpleNamespace(resampler=lambda rows: resampler)


def found(defense: str, clean: int, gamma: tuple[int, int], blur: int) -> list[Answered]:
    return [
        answered("clean", "none", clean, defense),
        answered("corruption", "gamma(severity=1)", gamma[0], defense, severity=1),
        answered("corruption", "gamma(severity=5)", gamma[1], defense, severity=5),
        answered("corruption", "blur[focal]", blur, defense, severity=3, kind="focal"),
        answered("corruption", "block_transform", 8, defense, grid=3),
    ]


def test_corruptions_count_alike_however_many_grades_they_have(measurer):
    (one,) = corruption_summaries(found("none", 2, (2, 4), 6), measurer)
    assert [(r.corruption, r.severity, r.accuracy.value) for r in one.rows] == [
        ("blur[focal]", 3, 2 / 8),
        ("gamma", 1, 6 / 8),
        ("gamma", 5, 4 / 8),
    ]
    assert one.clean.value == 6 / 8
    assert one.accuracy.value == pytest.approx((2 / 8 + 5 / 8) / 2)  # not (2 + 6 + 4) / 24
    assert one.error.value == pytest.approx(1 - one.accuracy.value)
    assert one.kept.value == pytest.approx(one.accuracy.value / one.clean.value)
    assert one.kept.low < one.kept.value < one.kept.high
    assert (one.relative_error, one.reference) == (None, "")


def test_errors_are_told_relative_to_the_bare_model_per_corruption(measurer):
    both = [*found("none", 2, (2, 4), 6), *found("jpeg", 3, (3, 6), 3)]
    bare, jpeg = corruption_summaries(both, measurer)
    assert (bare.defense, jpeg.defense, jpeg.reference) == ("none", "jpeg", "none")
    # gamma (3 + 6) / (2 + 4), blur 3 / 6: their mean, not the ratio of all errors
    assert jpeg.relative_error.value == pytest.approx((9 / 6 + 3 / 6) / 2)
    assert jpeg.kept.value == pytest.approx(((5 / 8 + 3.5 / 8) / 2) / (5 / 8))


def test_a_corruption_that_never_fools_the_reference_is_left_out_of_the_relative_error(measurer):
    both = [*found("none", 0, (0, 0), 4), *found("jpeg", 0, (4, 4), 2)]
    assert corruption_summaries(both, measurer)[1].relative_error.value == pytest.approx(2 / 4)


def test_the_draws_are_paired(measurer):
    """A contender that errs on the very same images has a relative error of 1 without any spread."""
    _, twin = corruption_summaries([*found("none", 2, (2, 4), 6), *found("twin", 2, (2, 4), 6)], measurer)
    assert (twin.relative_error.low, twin.relative_error.value, twin.relative_error.high) == (1, 1, 1)


def test_without_graded_corruptions_there_is_no_summary(measurer):
    only = [answered("clean", "none", 1), answered("corruption", "block_transform", 8, grid=3)]
    assert corruption_summaries(only, measurer) == ()


def test_all_kept_by_few_patients_is_no_certainty(measurer):
    (one,) = corruption_summaries(found("none", 0, (0, 0), 0), measurer)
    assert one.kept.value == 1
    assert one.kept.low < 0.7
