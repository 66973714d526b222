"""Gains are paired image by image against the bare model, each contender by its own clean answers."""

from types import SimpleNamespace

import numpy as np
import pytest

from radproof.assess.gains import gains
from radproof.measure.intervals import Resampler

N = 40


class Measured:
    """Every image is a patient of its own."""

    def resampler(self, rows):
        return Resampler([str(row) for row in rows], draws=200, seed=1)


def answered(kind, defense, right, clean_right, eps=0.0):
    job = SimpleNamespace(kind=kind, goal="misclassify" if eps else "", eps=eps, budget="4/255" if eps else "")
    column = "headline" if eps else "clean"
    rows = np.arange(N)
    return SimpleNamespace(
        job=job, defense=defense, column=column, rows=rows, right=np.array(right), clean_right=np.array(clean_right)
    )


def test_a_defence_that_keeps_ten_and_costs_four():
    images = np.arange(N)
    bare_clean, hard_clean = images < 32, images < 28
    clean = [answered("clean", "none", bare_clean, bare_clean), answered("clean", "hard", hard_clean, hard_clean)]
    worst = [
        answered("attack", "none", images < 5, bare_clean, 4 / 255),
        answered("attack", "hard", images < 15, hard_clean, 4 / 255),
    ]
    (found,) = gains(clean, worst, Measured())
    assert (found.defense, found.budget) == ("hard", "4/255")
    assert found.robust.value == pytest.approx(10 / N)
    assert found.clean.value == pytest.approx(-4 / N)
    assert found.robust.low < 10 / N < found.robust.high


def test_right_under_attack_alone_does_not_count():
    wrong, right = np.zeros(N, bool), np.ones(N, bool)
    clean = [answered("clean", "none", right, right), answered("clean", "hard", wrong, wrong)]
    worst = [answered("attack", "none", wrong, right, 4 / 255), answered("attack", "hard", right, wrong, 4 / 255)]
    (found,) = gains(clean, worst, Measured())
    assert found.robust.value == 0
    assert found.clean.value == -1


def test_without_a_bare_headline_there_is_nothing_to_gain():
    right = np.ones(N, bool)
    assert (
        gains([answered("clean", "hard", right, right)], [answered("attack", "hard", right, right, 0.1)], Measured())
        == ()
    )
