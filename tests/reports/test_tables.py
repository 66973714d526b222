"""The tables that everyone reads."""

from radproof.reports.reading import Reading
from radproof.reports.tables import attack_tables, defense_tables, goal_words, summary_rows


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
    assert first.rows[4].head.small == "made on the surrogate"
    worst = first.rows[-1]
    assert (worst.head.text, worst.tone) == ("Worst per image", "headline")
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
    assert table.rows[3].boxes[-1].small == "lowest single attack: pgd"


def test_the_summary_has_one_shape_and_every_kind_of_row(reading):
    rows = summary_rows(reading)
    assert {tuple(row) for row in rows} == {("attack", "budget", "defence", "column", "still right", "success", "n")}
    assert list(rows[0].values()) == ["clean", "", "", "clean", "78 % (70–86)", "", "90"]
    assert list(rows[1].values()) == ["sia", "1/255", "", "bare", "24 % (16–32)", "69 % (61–77)", "90"]
    said = [list(row.values())[:5] for row in rows]
    assert ["sia", "1/255", "", "transfer", "49 % (41–57)"] in said
    assert ["worst", "4/255", "", "headline", "0 % (0–8)"] in said
    assert ["pgd", "4/255", "jpeg_tvm", "adaptive", "2 % (0–10)"] in said
    assert ["worst", "4/255", "jpeg_tvm", "headline", "1 % (0–9)"] in said
    assert ["worst (missed-finding)", "4/255", "jpeg_tvm", "headline", "1 % (0–9)"] in said
    assert said[-1] == ["block_transform", "", "", "corruption", "41 % (33–49)"]


def test_a_corruption_never_carries_a_budget(result):
    cells = tuple(
        c.model_copy(update={"budget": "8/255", "eps": 8 / 255}) if c.column == "corruption" else c
        for c in result.cells
    )
    row = summary_rows(Reading(result.model_copy(update={"cells": cells})))[-1]
    assert (row["column"], row["budget"]) == ("corruption", "")


def test_goals_in_words():
    assert goal_words("target:Pneumonia") == "the answer Pneumonia"
    assert goal_words("flip:Effusion") == "the finding Effusion turned over"
