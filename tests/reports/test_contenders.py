"""Defences side by side: gains, prices, attack by attack, and a sentence that is never stronger than the doubts."""

import re
from xml.etree import ElementTree

from radproof.assess.result import Gain
from radproof.core.records import Doubt, Estimate
from radproof.reports.contenders import contender_figure, contender_tables, contender_words
from radproof.reports.reading import Reading


def points(value, half=0.05):
    return Estimate(value=value, low=value - half, high=value + half, method="paired", n=90, patients=61)


def with_contenders(result, *, robust, doubts=()):
    """The usual result with two defences more, each a copy of jpeg_tvm's cells under another name."""
    cells = list(result.cells)
    for name in robust:
        if name != "jpeg_tvm":
            own = [cell for cell in result.cells if cell.defense == "jpeg_tvm"]
            cells += [c.model_copy(update={"defense": name, "key": c.key.replace("jpeg_tvm", name)}) for c in own]
    gains = tuple(
        Gain(defense=name, goal="misclassify", eps=4 / 255, budget="4/255", robust=points(value), clean=points(-0.04))
        for name, value in robust.items()
    )
    return Reading(result.model_copy(update={"cells": tuple(cells), "gains": gains, "doubts": tuple(doubts)}))


def test_words_tell_who_helps_who_does_not_and_who_is_doubted(result):
    robust = {"jpeg_tvm": 0.02, "hard<&>": 0.3, "shaky": 0.4}
    doubt = Doubt(kind="gradient-masking", about="defense:shaky", message="masked")
    said = contender_words(with_contenders(result, robust=robust, doubts=[doubt]))
    assert "hard<&> (+30 points (25–35) under attack, −4 points (−9 to 1) on clean images) keep" in said
    assert "Too close to tell from 90 images: jpeg_tvm." in said
    assert "no more images stay right with jpeg_tvm." in contender_words(
        with_contenders(result, robust={"jpeg_tvm": -0.02})
    )
    assert "Not established, because a serious doubt stands about it: shaky." in said


def test_a_doubt_about_everything_leaves_nothing_established(result):
    doubt = Doubt(kind="leakage", about="all", message="leaks")
    said = contender_words(with_contenders(result, robust={"jpeg_tvm": 0.3}, doubts=[doubt]))
    assert "keep more images right" in said
    assert said.endswith("all of this was measured, none of it is established.")
    (row,) = [
        row for row in contender_tables(with_contenders(result, robust={"jpeg_tvm": 0.3}, doubts=[doubt]))[0].rows
    ][1:]
    assert {box.small for box in row.boxes[2:]} == {"not established"}


def test_tables_hold_every_contender_and_every_attack(result):
    reading = with_contenders(result, robust={"jpeg_tvm": 0.02, "other": 0.3})
    tables = contender_tables(reading)
    assert [row.head.text for row in tables[0].rows] == ["no defence", "jpeg_tvm", "other"]
    assert "change" in [shown.label for shown in tables[0].rows[2].boxes[-1].shown]
    attacks = dict.fromkeys(attack for attack, made_on in reading.attacks if made_on == "model")
    assert [table.heads for table in tables[2:]] == [("Defence", *attacks, "adaptive")] * len(reading.budgets)
    assert all(len(row.boxes) == len(table.heads) - 1 for table in tables for row in table.rows)


def test_the_figure_is_well_formed_and_marks_every_value(result):
    reading = with_contenders(result, robust={"jpeg_tvm": 0.02, "hard<&>": 0.3})
    drawn = contender_figure(reading)
    ElementTree.fromstring(drawn)
    assert "hard&lt;&amp;&gt;" in drawn
    names = 3
    assert drawn.count("<circle") == 2 * (names + 1)  # clean and worst, and once in the key
    places = [float(x) for x in re.findall(r'cx="([0-9.]+)"', drawn)]
    assert all(0 <= x <= 340 for x in places)


def test_one_defence_needs_no_figure(result):
    assert contender_figure(Reading(result)) == ""
