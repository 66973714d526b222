# SPDX-License-Identifier: Apache-2.0
"""Detectors in a report: promises, what passes, who knows, and words that are never stronger than the doubts."""

import re

import pytest

from radproof.assess.detected import BenignRow, Detection, DetectionRow
from radproof.core.records import Doubt, Estimate
from radproof.reports.charts import BOTTOM, LEFT, MOST, RIGHT, TOP
from radproof.reports.detection import aware_tables, learned_table, number_tables, promise_table
from radproof.reports.detection_views import benign_grid, detection_charts, detection_grids, side_grids
from radproof.reports.detection_words import detection_words, headline
from radproof.reports.html import render
from radproof.reports.markdown import summary
from radproof.reports.reading import Reading

BUDGETS = {"1/255": 1 / 255, "4/255": 4 / 255}
NONE = Estimate(value=None, low=None, high=None, method="nothing fooled the model", n=0)


def share(value, n=90, half=0.08):
    low, high = max(0.0, value - half), min(1.0, value + half)
    return Estimate(value=value, low=low, high=high, method="m", n=n, patients=61)


@pytest.fixture
def known(result):
    """The usual detector with everything that can be asked of one."""
    return result.detection[1]


@pytest.fixture
def watched(result):
    """The usual result with these detectors and doubts."""
    return lambda *found, doubts=(): Reading(result.model_copy(update={"detection": found, "doubts": tuple(doubts)}))


def row(attack, budget, *, kind="attack", detected=0.9, unseen=0.1):
    return DetectionRow(
        detector="d",
        attack=attack,
        budget=budget,
        eps=BUDGETS.get(budget, 0.0),
        positives="successful",
        auroc=share(0.9, 70),
        detected=share(detected, 70),
        undetected_success=share(unseen, 90),
        roc=(),
        kind=kind,
        success=share(0.8, 90),
    )


def of(name, *rows, **more):
    usual = {
        "threshold": 0.3,
        "promised_rate": 0.05,
        "calibration_images": 120,
        "achieved_rate": share(0.07, half=0.05),
    }
    return Detection(detector=name, rows=rows, **{**usual, **more})


def text(box):
    return str(box.shown[0]) if box.shown else box.text


def doubt(about, kind="rate-not-kept"):
    return Doubt(kind=kind, about=about, message="told")


def test_the_promise_stands_beside_what_was_kept_and_what_was_to_be_expected(watched, known):
    table = promise_table(watched(known.model_copy(update={"by": "view"})))
    assert table is not None
    (line,) = table.rows
    assert [text(box) for box in line.boxes] == ["5 %", "7 % (2–12)", "1.9–9.4 %", "120"]
    assert line.head.small == "a threshold for each view"
    assert table.note.endswith("The promise covers: unchanged images; JPEG, quality 90.")


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"likely_low": 0.0, "likely_high": 0.094}, ("up to 9.4 %", "")),
        ({"by": "class"}, ("–", "each class has its own")),
        ({"by": "class", "threshold": None}, ("–", "")),
    ],
)
def test_what_is_to_be_expected_is_told_as_far_as_it_is_known(watched, known, told):
    table = promise_table(watched(of("d", **known)))
    assert table is not None
    box = table.rows[0].boxes[2]
    assert (box.text, box.small) == told


@pytest.mark.parametrize(
    ("rate", "judged"),
    [(0.04, "kept"), (0.05, "kept"), (0.07, "above it, by no more than chance"), (0.2, "not kept")],
)
def test_a_promise_is_judged_at_the_interval(watched, rate, judged):
    table = promise_table(watched(of("d", achieved_rate=share(rate, half=0.03))))
    assert table is not None
    assert table.rows[0].boxes[1].small == judged


def test_promises_that_differ_are_told_one_by_one(watched, known):
    table = promise_table(watched(of("plain"), known))
    assert table is not None
    assert [line.head.small for line in table.rows] == ["unchanged images", "unchanged images; JPEG, quality 90"]
    assert "covers" not in table.note


def test_a_refusal_is_words_and_never_a_rate(watched, known):
    refused = known.model_copy(update={"detector": "d", "threshold": None, "calibration_images": 12})
    reading = watched(refused)
    table = promise_table(reading)
    assert table is not None
    assert [text(box) for box in table.rows[0].boxes][1] == "–"
    assert table.rows[0].boxes[3].small == "too few for this rate: no threshold was set"
    assert detection_grids(reading) == []
    assert side_grids(reading) == []
    assert benign_grid(reading) is None
    assert detection_charts(reading) == []
    (known,) = aware_tables(reading)
    assert known.rows[0].boxes[2].small == "no threshold"
    assert "No detector set a threshold, so nothing was flagged." in detection_words(reading)
    assert "so no threshold was set: d." in detection_words(reading)


def test_the_headline_is_the_worst_of_the_best_detector(watched):
    weak = of("weak", row("sia", "4/255", unseen=0.3), row("evasion", "4/255", kind="aware", unseen=0.9))
    rows = (row("sia", "1/255", unseen=0.2), row("sia", "4/255", unseen=0.05), row("pgn", "4/255", unseen=0.06))
    aware = (row("evasion", "1/255", kind="aware", unseen=0.3), row("evasion", "4/255", kind="aware", unseen=0.43))
    assert headline(watched(weak, of("good", *rows, *aware))) == (
        "An attacker who knows good still fools the model unnoticed on 43 % (35–51) of images at 4/255 (evasion); "
        "one who does not, on 6 % (0–14) (pgn)."
    )


def test_an_attacker_who_need_not_know_is_the_headline_where_he_is_worse(watched):
    plain, knows = row("sia", "4/255", unseen=0.6), row("evasion", "4/255", kind="aware", unseen=0.1)
    said = headline(watched(of("d", plain, knows)))
    assert said.startswith("Even an attacker who does not know of d fools the model unnoticed on 60 % (52–68)")
    assert "passes on 10 % (2–18) (evasion), so it was the weaker one" in said
    assert said.endswith("is not established.")
    apart = knows.model_copy(update={"budget": "1/255", "eps": 1 / 255})
    assert headline(watched(of("d", plain, apart))).endswith(
        "; one who knows it, on 10 % (2–18) of images at 1/255 (evasion)."
    )


def test_without_an_attack_that_knows_the_detector_that_is_said(watched):
    said = headline(watched(of("d", row("sia", "4/255"))))
    assert "who does not know of d fools the model unnoticed on 10 % (2–18)" in said
    assert said.endswith("no attack that knows it was made, and one that does will do better.")
    nothing = row("sia", "4/255").model_copy(update={"detected": NONE, "undetected_success": NONE})
    assert headline(watched(of("d", nothing))) == "No image fooled the model, so there was nothing to flag."
    assert headline(watched()) == detection_words(watched()) == ""


def test_a_patch_without_a_budget_is_not_the_headline(watched):
    patch = row("adversarial_patch", "", unseen=0.9)
    assert "(sia)" in headline(watched(of("d", row("sia", "4/255", unseen=0.1), patch)))


def test_a_doubted_detector_is_never_told_as_settled(watched):
    doubted, sound = of("doubted", row("sia", "4/255", detected=1.0)), of("sound", row("sia", "4/255", detected=0.5))
    reading = watched(doubted, sound, doubts=[doubt("detector:doubted")])
    best = reading.best_detection()
    assert best is not None and best[0].detector == "sound"  # whatever the other flags
    said = detection_words(reading)
    assert "Not established, because a serious doubt stands about it: doubted." in said
    alone = watched(doubted, doubts=[doubt("detector:doubted")])
    assert headline(alone).endswith("A serious doubt stands: this is not established.")
    everything = detection_words(watched(sound, doubts=[doubt("all", "leakage")]))
    assert everything.endswith("all of this was measured, none of it is established.")
    assert "because a serious doubt stands about it" not in everything
    assert "robust" not in said + everything


def test_the_best_detector_is_judged_by_those_who_know_it(watched):
    flags_all = of("naive", row("sia", "4/255", detected=1.0, unseen=0.0), row("e", "4/255", kind="aware", unseen=0.8))
    steady = of("steady", row("sia", "4/255", detected=0.7, unseen=0.3), row("e", "4/255", kind="aware", unseen=0.4))
    unattacked = of("unattacked", row("sia", "4/255", detected=1.0, unseen=0.0))
    best = watched(flags_all, steady, unattacked).best_detection()
    assert best is not None
    assert best[0].detector == "steady"
    known = of("known", row("sia", "4/255", detected=0.9), row("e", "4/255", kind="aware", detected=0.1, unseen=0.7))
    hardest = watched(known).hardest(known)
    assert hardest is not None and hardest.attack == "sia"  # who knows the detector stands apart


def test_harmless_changes_that_cost_more_than_promised_are_told(watched):
    alarms = {"jpeg-90": 0.06, "blur": 0.31}
    benign = tuple(
        BenignRow(change=name, title=name.upper(), flagged=share(value, half=0.04), accuracy=share(0.77))
        for name, value in alarms.items()
    )
    reading = watched(of("d", row("sia", "4/255"), benign=benign), of("e", row("sia", "4/255"), benign=benign[:1]))
    assert "Of 2 harmless changes it takes offence most at “BLUR”: 31 % (27–35) flagged, more than promised." in (
        detection_words(watched(of("d", row("sia", "4/255"), benign=benign)))
    )
    grid = benign_grid(reading)
    assert grid is not None
    assert grid.heads == ("model right", "d", "e")
    shown = [[spot and str(spot.shown) for spot in spots] for _, spots in grid.rows]
    assert shown == [
        ["78 % (70–86)", "7 % (2–12)", "7 % (2–12)"],
        ["77 % (69–85)", "6 % (2–10)", "6 % (2–10)"],
        ["77 % (69–85)", "31 % (27–35)", None],
    ]
    assert [spot and spot.shade for spot in grid.rows[2][1]] == [0, 3, None]  # twice 26 points of five shades


def test_the_grid_holds_every_attack_at_every_budget_and_the_smallest(watched):
    rows = (row("sia", "1/255"), row("sia", "4/255", detected=0.3), row("pgn", "4/255"), row("patch", ""))
    rows += (row("evasion", "4/255", kind="aware", detected=0.0), row("smallest", "", kind="smallest", detected=0.5))
    (grid,) = detection_grids(watched(of("d", *rows)))
    assert grid.heads == ("own limits", "1/255", "4/255")
    assert [(head.text, head.small) for head, _ in grid.rows] == [
        ("sia", ""),
        ("pgn", ""),
        ("patch", ""),
        ("evasion", "knows the detector"),
        ("each at its smallest fooling budget", ""),
    ]
    spots = [[spot and (spot.shown.value, spot.shown.n, spot.shade) for spot in spots] for _, spots in grid.rows]
    assert spots[0] == [None, ("90 %", "n 70", 0), ("30 %", "n 70", 4)]  # missed 10 % and 70 %, of five shades
    assert spots[3] == [None, None, ("0 %", "n 70", 5)]
    assert len(spots[4]) == 1 and grid.rows[4][1][0].span == 3
    plain = grid.table
    assert all(len(line.boxes) == len(plain.heads) - 1 for line in plain.rows)
    assert plain.rows[3].head.text == "evasion, knows the detector"


def test_detectors_stand_side_by_side_on_what_each_sees_worst(watched):
    rows = (row("sia", "4/255", detected=0.9), row("pgn", "4/255", detected=0.6))
    rows += (row("low_frequency", "4/255", detected=0.1), row("e", "4/255", kind="aware", detected=0.2, unseen=0.7))
    flagged, passed = side_grids(watched(of("d", *rows), of("e", *rows[:1])))
    assert [(str(line[1][0].shown), line[1][0].small) for line in flagged.rows] == [
        ("60 % (52–68)", "pgn"),
        ("90 % (82–98)", "sia"),
    ]
    assert str(passed.rows[0][1][0].shown) == "70 % (62–78)"
    assert passed.rows[1][1] == (None,)


def test_who_knows_stands_beside_who_does_not(watched):
    rows = (row("sia", "4/255", unseen=0.1), row("pgn", "4/255", unseen=0.2), row("sia", "1/255", unseen=0.5))
    good = of("good", *rows, row("evasion", "4/255", kind="aware", detected=0.4, unseen=0.43))
    bad = of("bad", row("evasion", "4/255", kind="aware", unseen=0.8), row("sia", "4/255", unseen=0.7))
    first, others = aware_tables(watched(bad, good, doubts=[doubt("detector:bad")]))
    (line,) = first.rows
    assert line.head.text == "good · 4/255"
    assert [text(box) for box in line.boxes] == [
        "evasion",
        "80 % (72–88)",
        "40 % (32–48)",
        "43 % (35–51)",
        "20 % (12–28)",
    ]
    assert line.boxes[4].small == "pgn"
    assert others.rows[0].head.text == "bad · 4/255"
    assert others.rows[0].boxes[3].small == "not established"
    assert aware_tables(watched(of("d", *rows))) == []


def test_the_left_out_attack_stands_beside_clean_images_alone(watched, known):
    table = learned_table(watched(known))
    assert table is not None
    line = table.rows[0]
    assert line.head.text == "feature_squeezing · sia at 4/255"
    assert [text(box) for box in line.boxes] == [
        "stm[acquisition], pgn and usmm",
        "66 % (58–74)",
        "–",
        "55 % (47–63)",
        "7 % (2–12)",
        "0.91 (0.83–0.99)",
    ]
    assert line.boxes[2].small == "not measured"
    assert learned_table(watched(of("d"))) is None


def test_false_alarms_of_a_trained_detector_stand_beside_what_it_flags(watched, known):
    told = known.learned[0].model_copy(update={"achieved": share(0.2, half=0.1)})
    table = learned_table(watched(known.model_copy(update={"learned": (told,)})))
    assert table.heads[2:6] == (
        "Flagged",
        "False alarms",
        "Flagged, clean images alone",
        "False alarms, clean images alone",
    )
    assert text(table.rows[0].boxes[2]) == "20 % (10–30)"


def test_a_trained_detector_without_a_threshold_says_why(watched, known):
    told = known.learned[0].model_copy(update={"detected": NONE, "auroc": NONE, "reason": "9 clean images cannot"})
    (line,) = learned_table(watched(known.model_copy(update={"learned": (told,)}))).rows
    assert line.boxes[1].small == "9 clean images cannot"
    assert [text(line.boxes[k]) for k in (1, 2, 5)] == ["–", "–", "–"]
    assert text(line.boxes[3]) == "55 % (47–63)"


def test_stricter_thresholds_are_told_where_they_could_be_set(watched):
    strict = row("sia", "4/255").model_copy(update={"at_5": share(0.7, 70)})
    ((name, table),) = number_tables(watched(of("d", strict, row("pgn", "4/255"))))
    assert name == "d"
    assert table.heads == ("Attack and budget", "Flagged for 5 % (promised)", "Flagged for 5 %", "AUROC", "Unseen")
    assert [text(line.boxes[1]) for line in table.rows] == ["70 % (62–78)", "–"]
    assert table.rows[1].boxes[1].small == "too few calibration images"
    same = row("sia", "4/255").model_copy(update={"at_5": row("sia", "4/255").detected})
    ((_, plain),) = number_tables(watched(of("d", same)))
    assert "Flagged for 5 %" not in plain.heads  # which is the promised rate
    assert text(table.rows[0].boxes[2]) == "0.90 (0.82–0.98)"


def test_the_panels_hold_as_many_lines_as_can_be_told_apart(watched, known):
    found = [known.model_copy(update={"detector": f"d{k}"}) for k in range(MOST + 2)]
    flagged, passed = detection_charts(watched(*found))
    assert [len(panel.series) for panel in (flagged, passed)] == [MOST, MOST]
    assert "(5 of 7 detectors)" in flagged.title
    first = flagged.series[0].marks
    assert [mark.x for mark in first] == sorted(mark.x for mark in first)
    marks = [mark for panel in (flagged, passed) for line in panel.series for mark in line.marks]
    assert all(LEFT <= mark.x <= RIGHT and TOP <= mark.high <= mark.low <= BOTTOM for mark in marks)
    (guide,) = flagged.guides
    height = float(re.findall(r" ([\d.]+)H", guide)[0])
    assert (BOTTOM - height) / (BOTTOM - TOP) == pytest.approx(0.05, abs=0.001)  # the promised rate
    assert passed.guides == ()
    heights = [(BOTTOM - mark.y) / (BOTTOM - TOP) for mark in passed.series[0].marks]
    assert heights == pytest.approx([0.56, 0.42], abs=0.001)


def test_page_and_summary_tell_the_same_and_escape_names(result, finished, known):
    bad = "d<&>|"
    found = known.model_copy(update={"detector": bad})
    told = result.model_copy(update={"detection": (found,), "doubts": ()})
    page, short = render(told, finished), summary(told, ())
    assert "d&lt;&amp;&gt;|" in page and bad not in page
    assert "## Detection" in short and "d&lt;&>\\|" in short
    for words in ("Attackers who know the detector", "What each detector promised and kept", "judged on the one left"):
        assert words in page and words in short
    assert "each at its smallest fooling budget" in page
    none = result.model_copy(update={"detection": ()})
    assert "## Detection" not in summary(none, ())
    assert "Harmless changes" not in render(none, finished)
