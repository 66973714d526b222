"""The picture and the page of a search."""

import xml.etree.ElementTree as ET

import pytest

from radproof.assess.tune import Alarm, Candidate, Tuned
from radproof.core.records import Estimate
from radproof.reports.tuning import front_svg, tuning_markdown, tuning_rows

SVG = "{http://www.w3.org/2000/svg}"


def share(value):
    if value is None:
        return Estimate(value=None, low=None, high=None, method="nothing to measure", n=0)
    return Estimate(value=value, low=max(0.0, value - 0.1), high=min(1.0, value + 0.1), method="bootstrap", n=9)


def candidate(name, right, robust, front, **chosen):
    return Candidate(name=name, chosen=chosen, clean=share(right), robust=share(robust), gain=None, front=front)


@pytest.fixture
def found():
    alarm = Alarm(detector="frequency", rate=0.05, attack="pgd", budget="4/255", detected=0.25)
    candidates = (
        candidate("a<b>&|", 0.6, 0.5, True, defenses=[{"name": "jpeg", "quality": 50}]),
        candidate("empty", None, None, False, defenses=[{"name": "tvm"}]),
        candidate("beaten", 0.5, 0.4, False, defenses=[{"name": "median"}]),
        candidate("none", 0.9, 0.0, True),
    )
    return Tuned(budget="4/255", images=9, patients=7, candidates=candidates, alarms=(alarm,))


def test_the_picture_is_xml_with_a_point_per_candidate_numbered_as_in_the_table(found):
    root = ET.fromstring(front_svg(found))
    circles = root.findall(f"{SVG}circle")
    assert [circle.find(f"{SVG}title").text for circle in circles] == ["a<b>&|", "beaten", "none"]
    assert [circle.get("fill") != "#ffffff" for circle in circles] == [True, False, True]
    columns = [float(circle.get("cx")) for circle in circles]
    assert columns[1] < columns[0] < columns[2]
    heights = [float(circle.get("cy")) for circle in circles]
    assert heights[0] < heights[1] < heights[2]  # downwards on the page
    numbers = [text.text for text in root.findall(f"{SVG}text") if text.get("fill") == "#334"]
    assert numbers == ["1", "3", "4"]


def test_the_page_has_a_row_per_candidate_and_says_what_to_write(found):
    page = tuning_markdown(found)
    table = [line for line in page.split("| detector")[0].splitlines() if line.startswith("|")]
    assert len(table) == 2 + 4
    assert "| 1 | a&lt;b>&\\| |" in table[2] and "| 4 | no defence |" in table[5]
    assert "| frequency | 5 % | pgd | 4/255 | 25 % |" in page
    assert "quality: 50" in page and "median" not in page
    assert page.count("```yaml") == 1


def test_the_command_prints_the_same_rows(found):
    rows = tuning_rows(found)
    assert [(row[""], row["candidate"], row["front"]) for row in rows] == [
        ("1", "a<b>&|", "yes"),
        ("2", "empty", ""),
        ("3", "beaten", ""),
        ("4", "no defence", "yes"),
    ]
