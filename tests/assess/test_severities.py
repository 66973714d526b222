# SPDX-License-Identifier: Apache-2.0
"""One line of a plan for several grades, or for all corruptions."""

import pytest

from radproof.assess.parts import settle_all
from radproof.assess.plan import Part
from radproof.assess.severities import spread
from radproof.attacks import corruption
from radproof.attacks.corruptions.graded import TABLE
from radproof.errors import BadPlan


def labels(*parts):
    return list(settle_all(spread(parts), corruption, "quick"))


def test_a_list_of_grades_is_so_many_parts_with_names_of_their_own():
    parts = (Part(name="rotation", params={"severity": [1, 5]}), Part(name="block_transform"))
    assert labels(*parts) == ["rotation(severity=1)", "rotation(severity=5)", "block_transform"]
    assert [p.params for p in spread(parts)] == [{"severity": 1}, {"severity": 5}, {}]


def test_xray_is_every_corruption_of_the_table():
    found = labels(Part(name="xray", params={"severity": [1, 3]}))
    assert len(found) == 2 * len(TABLE)
    assert {name.partition("(")[0].partition("[")[0] for name in found} == set(TABLE)
    assert len(labels(Part(name="xray"))) == len(TABLE)


def test_other_parameters_stay_with_each_grade():
    (first, second) = spread([Part(name="blur", params={"kind": "motion", "severity": (2, 4)})])
    assert (first.params, second.params) == (
        {"kind": "motion", "severity": 2},
        {"kind": "motion", "severity": 4},
    )


@pytest.mark.parametrize("grades", [[], [3, 3]])
def test_no_grade_and_doubles_are_refused(grades):
    with pytest.raises(BadPlan, match="different grades"):
        spread([Part(name="gamma", params={"severity": grades})])


def test_a_grade_outside_the_table_is_refused_by_the_corruption():
    with pytest.raises(BadPlan, match="severity"):
        labels(Part(name="gamma", params={"severity": [1, 6]}))


def test_xray_takes_grades_alone():
    with pytest.raises(BadPlan, match="'kind'"):
        spread([Part(name="xray", params={"kind": "motion"})])
