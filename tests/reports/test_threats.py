"""Threats that no L-infinity or L2 budget bounds."""

from radproof.reports.cards import cards, story
from radproof.reports.detection_views import detection_grids
from radproof.reports.figures import accuracy_charts
from radproof.reports.html import render
from radproof.reports.reading import Reading
from radproof.reports.threats import threat_tables

APART = {"stain_style", "spatial", "one_pixel", "adversarial_patch", "low_frequency"}


def said(box):
    return [str(one) for one in box.shown] or [box.text]


def test_each_stands_within_its_own_limits(reading):
    table = threat_tables(reading)[0]
    assert table.caption == "Other threats, each within its own limits; goal: any wrong answer"
    assert {row.head.text for row in table.rows} == APART
    rows = {(row.head.text, row.head.small): [said(box)[0] for box in row.boxes] for row in table.rows}
    assert rows["spatial", "position and shape"] == [
        "rotation up to 10°, shift up to 5 % of the width",
        "58 % (50–66)",
        "33 % (25–41)",
        "0.98 (0.97–0.99)",
        "79/255 (79–79)",
        "110 gradients",
    ]
    assert rows["spatial", "position and shape · made on resnet50"][1] == "36 % (28–44)"
    assert rows["low_frequency", "bounded by frequency"][0] == "at most 4/255"
    assert rows["one_pixel", "few pixels, any value"][-1] == "5,000 queries"


def test_behind_a_defence_the_attacker_who_knows_it_is_told_apart(reading):
    table = threat_tables(reading)[1]
    assert table.heads == ("Attack", "No defence", "jpeg_tvm")
    assert table.footnotes == (2,)
    spatial = next(row for row in table.rows if row.head.text == "spatial")
    assert [said(box) for box in spatial.boxes] == [["58 % (50–66)"], ["45 % (37–53)", "60 % (52–68)"]]
    assert [one.label for one in spatial.boxes[1].shown] == ["", "knowing it"]
    carried = next(row for row in table.rows if row.head.small.endswith("made on resnet50"))
    assert [said(box) for box in carried.boxes] == [["36 % (28–44)"], ["30 % (21–38)"]]


def test_an_attack_made_only_against_a_defence_has_a_row_too(result):
    cells = tuple(c for c in result.cells if c.attack != "spatial" or c.column == "adaptive")
    table = threat_tables(Reading(result.model_copy(update={"cells": cells})))[1]
    row = next(row for row in table.rows if row.head.text == "spatial")
    assert [said(box) for box in row.boxes] == [["–"], ["60 % (52–68)"]]


def test_the_worst_of_them_is_called_an_ensemble(result):
    worst = next(c for c in result.cells if c.attack == "spatial").model_copy(
        update={"attack": "worst", "column": "headline"}
    )
    of_column = worst.model_copy(update={"column": "oblivious"})
    reading = Reading(result.model_copy(update={"cells": (*result.cells, of_column, worst)}))
    names = [row.head.text for row in threat_tables(reading)[0].rows]
    assert names.count("ensemble (worst per image)") == 1
    assert cards(reading) == cards(Reading(result))


def test_they_count_in_no_headline_no_curve_and_no_budget(reading, result):
    without = Reading(result.model_copy(update={"cells": tuple(c for c in result.cells if c.attack not in APART)}))
    assert cards(reading) == cards(without)
    assert accuracy_charts(reading) == accuracy_charts(without)
    assert (reading.budgets, reading.attacks, reading.goals) == (without.budgets, without.attacks, without.goals)
    strong = tuple(
        c.model_copy(update={"robust_accuracy": result.cells[2].scores.ece}) if c.attack in APART else c
        for c in result.cells
    )
    assert cards(Reading(result.model_copy(update={"cells": strong}))) == cards(reading)


def test_a_detector_is_judged_by_attacks_with_a_budget(result):
    found = result.detection[0]
    unseen = found.rows[0].detected.model_copy(update={"value": 0.0, "low": 0.0})
    easy = found.rows[-1].model_copy(update={"attack": "spatial", "eps": 0.0, "budget": "", "detected": unseen})
    low = easy.model_copy(update={"attack": "low_frequency", "eps": 4 / 255, "budget": "4/255"})
    more = found.model_copy(update={"rows": (*found.rows, easy, low)})
    reading = Reading(result.model_copy(update={"detection": (more,)}))
    row = reading.hardest(more)
    assert row is not None
    assert row.attack == "sia"
    assert detection_grids(reading)[0].heads == ("own limits", "1/255", "4/255")


def test_the_story_names_them_apart(result):
    done = story(Reading(result))[0]
    assert done.endswith(
        "Apart from these, it was attacked with stain_style, spatial, one_pixel, adversarial_patch and low_frequency, "
        "each within its own limits."
    )
    alone = tuple(c for c in result.cells if c.attack in (APART | {"none"}))
    told = story(Reading(result.model_copy(update={"cells": alone})))[0]
    assert "(preset quick), it was attacked with stain_style" in told
    assert "at most" not in told


def test_without_them_there_is_no_section(result, finished, page):
    assert 'id="threats"' in page
    bare = result.model_copy(update={"cells": tuple(c for c in result.cells if c.attack not in APART)})
    assert threat_tables(Reading(bare)) == []
    assert 'id="threats"' not in render(bare, finished)
