"""The verdict is never stronger than the figures and the doubts allow."""

import pytest

from radproof.assess.result import Gain
from radproof.assess.verdict import verdict
from radproof.core.records import Doubt

SERIOUS = Doubt(kind="gradient-masking", about="all", message="gradients mislead")


def headline(cell, **given):
    return cell(column="headline", attack="worst", **given)


@pytest.mark.parametrize(
    ("success", "half", "doubts", "start"),
    [
        (0.9, 0.05, (), "Easily fooled: a change of at most 4/255"),
        (0.4, 0.05, (), "Fooled in part"),
        (0.1, 0.05, (), "The model withstood the attacks tried"),
        (0.1, 0.05, (SERIOUS,), "Resistance is not established"),
        (0.3, 0.3, (), "Resistance is not established"),
    ],
)
def test_words_follow_the_interval(cell, clean, success, half, doubts, start):
    cells = (clean(), headline(cell, success=success, robust=0.9 - success, half=half))
    assert verdict(cells, None, doubts).startswith(start)


@pytest.mark.parametrize(
    ("kept", "after", "doubts", "judged"),
    [
        (0.5, 0.88, (), "it helps."),
        (0.12, 0.9, (), "it does not help."),
        (0.3, 0.3, (), "it costs more than it brings."),
        (
            0.5,
            0.88,
            (Doubt(kind="weak-adaptive-attack", about="headline | worst | misclassify | 4/255 | jpeg", message=""),),
            "whether it helps is not",
        ),
    ],
)
def test_a_defence_is_judged_by_what_it_brings_and_costs(cell, clean, kept, after, doubts, judged):
    cells = (
        clean(),
        clean(defense="jpeg", accuracy=after),
        headline(cell, robust=0.1, success=0.9),
        headline(cell, defense="jpeg", robust=kept, success=0.5),
    )
    assert judged in verdict(cells, None, doubts)


def test_nothing_right_leaves_nothing_to_attack(cell, clean):
    empty = headline(cell, robust=0.0).model_copy(update={"success": None})
    assert "nothing to attack" in verdict((clean(), empty), None, ())
    assert "No attack was made" in verdict((clean(),), None, ())
    apart = clean(column="oblivious", attack="spatial", goal="misclassify")
    assert "No attack within a norm was made" in verdict((clean(), apart), None, ())


def test_many_defences_are_summed_up_with_the_best_in_full(cell, clean):
    kept = {"none": 0.1, "a": 0.5, "b": 0.12, "c": 0.7, "d": 0.11, "e": 0.6}
    cells = [clean(accuracy=0.9, defense=name) for name in kept]
    cells += [
        cell(column="headline", attack="worst", robust=robust, success=1 - robust, defense=name, half=0.02)
        for name, robust in kept.items()
    ]
    doubted = Doubt(kind="gradient-masking", about="defense:e", message="its gradients are zero")
    said = verdict(cells, None, [doubted])
    assert "Of 5 defences: 2 helping (a, c); 2 not helping (b, d); 1 not established (e)." in said
    assert "The best: with c, 70 % (68–72)" in said


@pytest.mark.parametrize(
    ("brings", "half", "price", "judged"),
    [
        (0.3, 0.1, -0.1, "it helps"),
        (0.3, 0.1, -0.4, "it costs more than it brings"),
        (0.1, 0.15, 0.0, "too few to tell"),
        (0.1, 0.15, -0.5, "it costs more than it brings"),
        (-0.1, 0.05, 0.0, "it does not help"),
    ],
)
def test_the_paired_difference_decides(cell, clean, measured, brings, half, price, judged):
    cells = [clean(accuracy=0.9), clean(accuracy=0.9, defense="jpeg")]
    cells += [
        headline(cell, robust=0.1, success=0.9),
        headline(cell, robust=0.4, success=0.6, defense="jpeg", half=0.01),
    ]
    gain = Gain(
        defense="jpeg",
        goal="misclassify",
        eps=4 / 255,
        budget="4/255",
        robust=measured(brings, half),
        clean=measured(price),
    )
    assert judged in verdict(cells, None, (), [gain])
