# SPDX-License-Identifier: Apache-2.0
"""Certified accuracy in the report."""

import re

import pytest

from radproof.assess.result import Certificate, Certified, CertifiedAt
from radproof.core.records import Estimate
from radproof.reports.certified import certified_chart, certified_table, certified_words
from radproof.reports.charts import BOTTOM, LEFT, RIGHT, TOP
from radproof.reports.html import render

RADII = (0.05, 0.1, 0.1, 0.3, 0.61)  # of images that are right; one is wrong, two abstained


def estimate(value: float, half: float = 0.1) -> Estimate:
    return Estimate(value=value, low=max(0, value - half), high=min(1, value + half), method="b", n=8, patients=8)


def certificate(n: int, answer: str | None, radius: float) -> Certificate:
    return Certificate(
        sample=f"{n:016x}", truth="Normal", selected=answer or "Normal", hits=900, p_low=0.6 if answer else 0.4,
        answer=answer, radius=radius, predicted="Normal",
    )  # fmt: skip


@pytest.fixture
def proved() -> Certified:
    proofs = [certificate(k, "Normal", radius) for k, radius in enumerate(RADII)]
    proofs += [certificate(6, "Pneumonia", 0.5), certificate(7, None, 0.0), certificate(8, None, 0.0)]
    return Certified(
        network="model", sigma=0.25, n0=100, n=1000, alpha=0.001, cap=0.615, values=224 * 224, images=8,
        plain=estimate(0.875), accuracy=estimate(0.75), abstained=estimate(0.25),
        curve=tuple(
            CertifiedAt(radius=at, accuracy=estimate(sum(radius >= at for radius in RADII) / 8))
            for at in (0.0, 0.0625, 0.125, 0.5)
        ),
        average_radius=estimate(sum(RADII) / 8),
        certificates=tuple(proofs),
    )  # fmt: skip


@pytest.fixture
def told(proved):
    """The same, changed at will."""
    return lambda **changes: proved.model_copy(update=changes)


def corners(path: str) -> list[tuple[float, float]]:
    """The corners of a path of M, H and V."""
    x = y = 0.0
    found = []
    for step, first, second in re.findall(r"([MHV])([\d.]+)(?: ([\d.]+))?", path):
        x, y = (float(first), float(second)) if step == "M" else (float(first), y) if step == "H" else (x, float(first))
        found.append((x, y))
    return found


def test_the_curve_falls_by_one_image_at_each_radius_and_the_wrong_are_never_on_it(told):
    chart = certified_chart(told())
    assert chart is not None
    (line,) = chart.series
    (first_x, _), (last_x, _) = corners(line.path)[0], corners(line.path)[-1]
    per_unit = (last_x - first_x) / 0.8  # 0.8 is the next round number above the cap
    heights = [(BOTTOM - y) / (BOTTOM - TOP) for _, y in corners(line.path)]
    assert heights[0] == pytest.approx(5 / 8, abs=0.001)
    assert heights[-1] == 0
    falls = [x for (x, a), (_, b) in zip(corners(line.path), corners(line.path)[1:], strict=False) if a != b]
    assert [(x - first_x) / per_unit for x in falls] == pytest.approx(RADII, abs=0.001)


def test_marks_stand_on_the_curve_with_their_intervals(told):
    chart = certified_chart(told())
    assert chart is not None
    (line,) = chart.series
    path = corners(line.path)
    for mark in line.marks:
        below = [y for x, y in path if x <= mark.x]
        assert below[-1] == pytest.approx(mark.y, abs=0.1)
        assert mark.low > mark.y > mark.high or mark.low == mark.y
    assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y in path)


def test_the_cap_is_drawn_and_told_everywhere(told):
    chart, table = certified_chart(told()), certified_table(told())
    assert chart is not None
    assert table is not None
    (guide,) = chart.guides
    start, end = (corners(chart.series[0].path)[place][0] for place in (0, -1))
    assert float(re.findall(r"[\d.]+", guide)[0]) == pytest.approx(start + (end - start) * 0.615 / 0.8, abs=0.1)
    assert "cap is 0.615" in chart.alt
    assert table.caption == "Certified accuracy; cap 0.615"
    assert "above 0.615" in certified_words(told())


def test_each_radius_is_told_in_grey_levels_too(told):
    table = certified_table(told())
    assert table is not None
    heads = [row.head.text for row in table.rows]
    assert heads == ["0", "0.0625", "0.125", "0.5"]
    assert [row.boxes[0].text for row in table.rows] == ["0/255", "0.071/255", "0.14/255", "0.57/255"]
    assert [str(row.boxes[1].shown[0]) for row in table.rows][-1] == "12 % (2–22)"


def test_the_words_say_what_it_costs_and_how_little_it_covers(told):
    said = certified_words(told())
    assert "100 noisy copies" in said
    assert "1,000 others" in said
    assert "sigma 0.25 (63.8 of 255 grey levels)" in said
    assert "a chance of 0.1 %" in said
    assert "the model itself is right on 88 % (78–98), the smoothed network on 75 % (65–85)" in said
    assert "over 50,176 pixel values that is 0.7/255 for each" in said
    assert "shielded itself is right" in certified_words(told(network="shielded"))


def test_one_radius_and_no_certificate_are_drawn_too(told, proved):
    silent = tuple(certificate(k, None, 0.0) for k in range(8))
    point = CertifiedAt(radius=0.0, accuracy=estimate(0.0, 0.0))
    chart = certified_chart(told(certificates=silent, curve=(point,)))
    assert chart is not None
    assert {y for _, y in corners(chart.series[0].path)} == {BOTTOM}


def test_the_section_is_there_where_something_was_certified(result, finished, page, proved):
    assert certified_chart(None) is None
    assert certified_table(None) is None
    assert certified_words(None) == ""
    assert 'id="certified"' not in page
    drawn = render(result.model_copy(update={"certified": proved}), finished)
    assert drawn.count('href="#certified"') == 1
    section = drawn.partition('id="certified"')[2].partition("</section>")[0]
    assert "<svg" in section
    assert "0.57/255" in section
    assert "0.615" in section
