"""What stands apart from attacks and defences."""

from radproof.reports.checks import (
    corruption_table,
    paired_table,
    shortcut_table,
    view_table,
)
from radproof.reports.reading import Reading


def text(box):
    return str(box.shown[0]) if box.shown else box.text


def test_the_forensic_rule_stands_with_and_without_its_label_rule(reading):
    table = paired_table(reading)
    assert table is not None
    assert [text(box) for box in table.rows[0].boxes] == ["100 % (92–100)", "90 % (82–98)"]


def test_corruptions_never_show_a_pixel_norm(result):
    cells = tuple(
        c.model_copy(update={"linf": result.cells[2].linf, "budget": "8/255"}) if c.column == "corruption" else c
        for c in result.cells
    )
    table = corruption_table(Reading(result.model_copy(update={"cells": cells})))
    assert table is not None
    everything = " ".join([*table.heads, *(text(box) + box.small for row in table.rows for box in row.boxes)])
    assert "/255" not in everything
    assert "∞" not in everything


def test_shortcuts_stand_beside_the_model(reading):
    table = shortcut_table(reading)
    assert table is not None
    assert [row.head.text for row in table.rows] == ["the model", "thumbnail alone", "file size alone"]
    assert [text(row.boxes[0]) for row in table.rows] == ["0.84 (0.76–0.92)", "0.79 (0.71–0.87)", "0.55 (0.47–0.63)"]


def test_views(reading):
    table = view_table(reading)
    assert table is not None
    assert [text(row.boxes[0]) for row in table.rows] == ["73 % (65–81)", "80 % (72–88)", "76 % (68–84)"]


def test_an_auroc_of_a_view_is_no_share(result):
    views = {"accuracy PA": result.by_view["PA"], "AUROC Normal PA": result.by_view["PA"]}
    table = view_table(Reading(result.model_copy(update={"by_view": views})))
    assert table is not None
    assert [text(row.boxes[0]) for row in table.rows] == ["80 % (72–88)", "0.80 (0.72–0.88)"]


def test_what_was_not_measured_has_no_table(result):
    bare = Reading(
        result.model_copy(update={"cells": (), "detection": (), "paired": (), "shortcuts": (), "by_view": {}})
    )
    made = (paired_table, corruption_table, shortcut_table, view_table)
    assert [make(bare) for make in made] == [None] * 4
