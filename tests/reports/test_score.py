# SPDX-License-Identifier: Apache-2.0
"""The score on the page: figures first, the grade last, doubts beside it."""

import pytest

from radproof.assess.grades import BARS
from radproof.assess.score import findings_of, scores
from radproof.reports.html import render
from radproof.reports.reading import Reading
from radproof.reports.score import score_tables, score_words


@pytest.fixture
def scored(result):
    return result.model_copy(update={"score": scores(findings_of(result))})


def test_every_component_comes_before_the_grade(scored):
    (table,) = score_tables(Reading(scored))
    assert table.heads == ("Component", "The bare model", "jpeg_tvm")
    assert [row.head.text for row in table.rows] == [*(bar.title for bar in BARS), "Grade"]
    assert table.rows[-1].tone == "headline"


def test_a_figure_stands_with_its_interval_and_its_grade(scored):
    (table,) = score_tables(Reading(scored))
    small, large, smallest = (row.boxes[0] for row in table.rows[:3])
    assert (str(small.shown[0]), small.text, small.small) == ("22 % (14–30)", "Grade E", "1/255")
    assert (str(large.shown[0]), large.text) == ("0 % (0–8)", "Grade E")
    assert (str(smallest.shown[0]), smallest.text) == ("1/255 (1–2)", "Grade D")


def test_what_was_not_measured_gives_its_reason(scored):
    (table,) = score_tables(Reading(scored))
    box = table.rows[2].boxes[1]
    assert (box.text, box.small) == ("–", "searched for the bare model alone")


def test_doubts_mark_the_grade_that_they_cap(scored):
    reading = Reading(scored)
    bare, defended = score_tables(reading)[0].rows[-1].boxes
    kinds = {one.number: one.doubt.kind for one in reading.doubts}
    assert [kinds[n] for n in bare.marks] == ["shortcut"]
    assert [kinds[n] for n in defended.marks] == ["shortcut", "gradient-masking"]


def test_grades_are_told_in_a_sentence_and_a_missing_one_too(scored):
    assert score_words(Reading(scored)) == "The bare model: grade E; jpeg_tvm: grade E."
    ungraded = [one.model_copy(update={"grade": None, "reason": "no grade: so and so"}) for one in scored.score]
    reading = Reading(scored.model_copy(update={"score": tuple(ungraded)}))
    assert score_words(reading) == "The bare model: no grade; jpeg_tvm: no grade."
    assert score_tables(reading)[0].rows[-1].boxes[0].small == "no grade: so and so"


def test_many_contenders_are_spread_over_tables(scored):
    many = tuple(scored.score[1].model_copy(update={"contender": f"d{k}"}) for k in range(6))
    tables = score_tables(Reading(scored.model_copy(update={"score": many})))
    assert [len(table.heads) for table in tables] == [4, 4]
    assert [bool(table.note) for table in tables] == [False, True]


def test_the_section_is_there_where_there_is_a_score(scored, result, finished):
    assert 'id="score"' in render(scored, finished)
    assert 'id="score"' not in render(result.model_copy(update={"score": ()}), finished)
