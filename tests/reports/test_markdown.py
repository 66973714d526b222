"""The job summary: gates, headline with intervals, doubts, and tables that nothing can break."""

import pytest

from radproof.assess.result import GateVerdict
from radproof.reports.markdown import summary, table


def verdict(sentence, verdict, message="it is 0.2 (0.1 to 0.3)"):
    return GateVerdict(
        sentence=sentence, metric="clean_accuracy", verdict=verdict, figure=None, about="cell", message=message
    )


GATES = (verdict("attack_success <= 0.8 @ 1/255", "passed"), verdict("grade >= C", "not established", "a | b <i>"))


@pytest.fixture
def page(result):
    return summary(result, GATES)


def boxes(page, head):
    """The rows of the table with this first column."""
    lines = page.split(f"| {head} |", 1)[1].split("\n\n")[0].splitlines()[2:]
    return [[box.strip() for box in line.replace("\\|", "¦").strip("|").split("|")] for line in lines]


def test_gates_come_first_with_what_became_of_them(page):
    assert page.index("## Gates: 1 of 2 gates not passed") < page.index("## Verdict") < page.index("## Doubts")
    assert boxes(page, "gate") == [
        ["`attack_success <= 0.8 @ 1/255`", "passed", "it is 0.2 (0.1 to 0.3)"],
        ["`grade >= C`", "**not established**", "a ¦ b &lt;i>"],
    ]


def test_the_headline_has_its_intervals(page, result):
    rows = boxes(page, "attack")
    headline = [cell for cell in result.cells if cell.column == "headline"]
    clean = [cell for cell in result.cells if cell.column == "clean"]
    corrupted = [cell for cell in result.cells if cell.column == "corruption"]
    assert len(rows) == len(headline) + len(clean) + len(corrupted)
    told = next(row for row in rows if row[:2] == ["ensemble (worst per image)", "1/255"] and not row[2])
    assert told[3] == "22 % (14–30)" and told[5] == "90"


def test_verdict_phantoms_doubts_and_sample_are_told(page, result):
    assert result.verdict in page
    assert "Drawn images (phantoms)" in page
    for doubt in result.doubts:
        assert f"**{doubt.severity}**" in page and doubt.message in page
    assert "90 images of 61 patients, 160x160, preset quick" in page
    assert "/home/someone" not in page


def test_without_gates_doubts_and_phantoms_nothing_is_said_of_them(result):
    page = summary(result.model_copy(update={"doubts": (), "phantom": False}), ())
    assert not any(word in page for word in ("## Gates", "## Doubts", "phantoms"))


def test_no_box_ends_early():
    made = table([{"a": "x | y\nz", "b": "`<=` <script>", "c": "one ` <b>"}])
    assert made.splitlines()[2] == "| x \\| y z | `<=` &lt;script> | one ` &lt;b> |"
    assert table([]) == "Nothing to show."
