"""The tables that everyone reads."""

from radproof.core.records import Doubt
from radproof.reports.reading import Reading
from radproof.reports.tables import attack_tables, defense_tables, goal_words, spread


def said(box):
    return [str(one) for one in box.shown] or [box.text]


def test_attacks_stand_against_budgets_and_the_worst_per_image_comes_last(reading):
    first, second = attack_tables(reading)
    assert first.heads == ("Attack", "1/255", "4/255")
    assert first.caption.endswith("goal: any wrong answer")
    assert second.caption.endswith("goal: disease read as Normal")
    sia = first.rows[0]
    assert sia.head.text == "sia"
    assert said(sia.boxes[0]) == ["24 % (16–32)", "69 % (61–77)", "72 % (64–80)"]
    assert [one.label for one in sia.boxes[0].shown] == ["", "success", "in float"]
    assert first.rows[4].head.small == "made on resnet50"
    worst = first.rows[-1]
    assert (worst.head.text, worst.tone) == ("ensemble (worst per image)", "headline")
    assert [said(box) for box in worst.boxes] == [["22 % (14–30)"], ["0 % (0–8)"]]


def test_float_success_is_told_only_where_storing_changed_it(reading):
    table = attack_tables(reading)[0]
    assert [one.label for one in table.rows[0].boxes[1].shown] == ["", "success"]  # both 100 %


def test_defences_stand_in_their_columns_with_the_headline_last(reading):
    table = defense_tables(reading)[0]
    assert table.heads[2:] == ("Oblivious", "Transfer", "Adaptive", "Headline: worst per image")
    bare, defended = table.rows[2:]
    assert (bare.head.text, defended.head.text) == ("4/255 · no defence", "4/255 · jpeg_tvm")
    assert [said(box) for box in defended.boxes] == [
        ["74 % (66–82)"],
        ["41 % (33–49)"],
        ["45 % (37–53)"],
        ["2 % (0–10)"],
        ["1 % (0–9)"],
    ]
    assert (bare.boxes[3].text, bare.boxes[3].small) == ("–", "same as oblivious")
    assert defended.head.marks == (2,)
    assert table.footnotes == (2,)


def test_without_a_headline_the_report_says_that_a_single_attack_stands_in(result):
    cells = tuple(c for c in result.cells if c.column != "headline")
    table = defense_tables(Reading(result.model_copy(update={"cells": cells})))[0]
    assert table.rows[3].boxes[-1].small.startswith("lowest single attack: pgd")


def test_goals_in_words():
    assert goal_words("target:Pneumonia") == "the answer Pneumonia"
    assert goal_words("flip:Effusion") == "the finding Effusion turned over"


def test_columns_that_do_not_fit_are_spread_evenly():
    assert [len(part) for part in spread(range(8), 6)] == [4, 4]
    assert [len(part) for part in spread(range(13), 6)] == [5, 5, 3]
    assert [list(part) for part in spread("abc", 6)] == [["a", "b", "c"]]
    assert spread((), 6) == []


def test_an_l2_attack_has_a_row_of_its_own_that_says_so(result):
    l2 = tuple(
        c.model_copy(update={"attack": "pgd_l2", "threat": "l2"})
        for c in result.cells
        if (c.attack, c.made_on, c.defense) == ("sia", "model", "none")
    )
    rows = attack_tables(Reading(result.model_copy(update={"cells": (*result.cells, *l2)})))[0].rows
    assert [row.head.small for row in rows if row.head.text == "pgd_l2"] == ["L2: the budget is a root mean square"]
    assert [row.head.small for row in rows if row.head.text == "pgn"] == ["", "made on resnet50"]


def test_other_threats_are_in_no_table_of_budgets(reading, result):
    apart = {cell.attack for cell in result.cells if cell.threat not in ("linf", "l2", "")}
    assert len(apart) == 5
    for table in (*attack_tables(reading), *defense_tables(reading)):
        words = " ".join(box.text + box.small for row in table.rows for box in (row.head, *row.boxes))
        assert not [name for name in apart if name in words]
    bounded = tuple(cell for cell in result.cells if cell.attack not in apart)
    alone = Reading(result.model_copy(update={"cells": bounded}))
    assert attack_tables(alone) == attack_tables(reading)
    assert defense_tables(alone) == defense_tables(reading)


def test_a_headline_with_a_serious_doubt_is_not_established(result):
    def headlines(about, severity="serious"):
        doubt = Doubt(kind="dead-gradients", about=about, message="no gradient", severity=severity)
        reading = Reading(result.model_copy(update={"doubts": (doubt,)}))
        table, bare = defense_tables(reading)[0], attack_tables(reading)[0]
        rows = {row.head.text.partition(" · ")[2]: row for row in table.rows[: 1 + len(reading.defenses)]}
        told = {name for name, row in rows.items() if "not established" in row.boxes[-1].small}
        return told, {name for name, row in rows.items() if row.head.marks}, bare

    every = set(headlines("all")[0])
    assert {"no defence", "jpeg_tvm"} <= every
    assert headlines("defense:jpeg_tvm")[:2] == ({"jpeg_tvm"}, {"jpeg_tvm"})
    told, marked, bare = headlines("defense:none")
    assert (told, marked) == ({"no defence"}, {"no defence"})
    assert bare.marks == (1,)  # once beside the table, not in every box
    assert not any(box.marks for row in bare.rows for box in row.boxes)
    assert headlines("defense:jpeg_tvm", "note")[0] == set()
