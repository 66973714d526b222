# SPDX-License-Identifier: Apache-2.0
"""The score: edges of every threshold, caps, what is missing, and the published table."""

import re
from pathlib import Path

import pytest

from radproof.assess.detected import Detection, DetectionRow
from radproof.assess.grades import BAR, BARS, CAPS, CHECKS, LEAST, LETTERS, OTHERWISE, cap, graded
from radproof.assess.result import Component, CorruptionSummary, Smallest
from radproof.assess.score import Findings, concerning, overall, scores
from radproof.core.records import Doubt, Estimate

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "reference" / "score.md"
GRADED = [bar for bar in BARS if bar.steps is not None]


def written(bar, step):
    number = (
        f"{100 * step:g} %" if bar.unit == "share" else f"{255 * step:g}/255" if bar.unit == "budget" else f"{step:g}"
    )
    return f"{'≥' if bar.better == 'higher' else '≤'} {number}"


def rows(title):
    text = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.M)
    lines = [line for line in dict(zip(text[1::2], text[2::2], strict=True))[title].splitlines() if line[:1] == "|"]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


# The published tables


def test_the_thresholds_in_the_docs_are_the_code():
    told = rows("Thresholds")
    assert told == [
        [bar.title, bar.what, *(["–"] * 4 if bar.steps is None else [written(bar, step) for step in bar.steps])]
        for bar in BARS
    ]
    text = PAGE.read_text(encoding="utf-8")
    assert f"at least {LEAST}" in re.sub(r"\s+", " ", text)


def test_the_caps_in_the_docs_are_the_code():
    told = {cells[0].strip("`"): cells[1] for cells in rows("Caps")}
    assert told == {**CAPS, "any other": OTHERWISE}
    assert set(CAPS) <= set(CHECKS)


def test_every_serious_doubt_is_a_check():
    """A new kind of serious doubt has to be put into grades.CHECKS, and into CAPS where it weighs less than D."""
    text = (DOCS / "explanation" / "honest-numbers.md").read_text(encoding="utf-8")
    kinds = re.findall(r"^\| `([a-z-]+)` \| ([^|]*) \|", text, flags=re.M)
    assert {kind for kind, severity in kinds if "serious" in severity} == set(CHECKS)


# Thresholds


@pytest.mark.parametrize("bar", GRADED, ids=[bar.name for bar in GRADED])
def test_a_threshold_itself_still_earns_its_grade_and_a_hair_beyond_does_not(bar):
    worse = -1e-6 if bar.better == "higher" else 1e-6
    for k, step in enumerate(bar.steps):
        assert graded(bar, step) == LETTERS[k]
        assert graded(bar, step + worse) == LETTERS[k + 1]
    assert list(bar.steps) == sorted(bar.steps, reverse=bar.better == "higher")
    assert len(set(bar.steps)) == 4


def test_budgets_are_compared_with_room_for_rounding():
    assert graded(BAR["smallest"], 0.1 + 0.2 - 0.3 + 4 / 255 - 1e-12) == "B"


# The vector


def bounds(value, low, high, n=90):
    return Estimate(value=value, low=low, high=high, method="bootstrap", n=n, patients=60)


def smallest(low, value):
    one = bounds(value, low, value)
    return Smallest(
        attack="pgd", images=9, median_float=one, median_stored=one, float_budgets=(), stored_budgets=(), most=16 / 255
    )


def row(attack, eps, detected, low):
    return DetectionRow(
        detector="d",
        attack=attack,
        budget=f"{round(eps * 255)}/255",
        eps=eps,
        positives="successful",
        auroc=bounds(0.9, 0.8, 1),
        detected=bounds(detected, low, 1),
        undetected_success=bounds(0.1, 0, 0.2),
        roc=(),
    )


def detector(name, *found):
    return Detection(
        detector=name,
        threshold=0.5,
        promised_rate=0.05,
        calibration_images=99,
        achieved_rate=bounds(0.05, 0, 0.1),
        rows=found,
    )


def corrupted(low, defense="none"):
    one = bounds(low + 0.01, low, low + 0.02)
    return CorruptionSummary(
        defense=defense,
        clean=one,
        rows=(),
        accuracy=one,
        error=one,
        kept=one,
        relative_error=None,
        reference="",
    )


def scored(cell, missed=None, ece=0.03, **given):
    made = cell(**given)
    more = {"ece": bounds(ece, ece - 0.01, ece), "missed_findings": missed, "brier": bounds(0.2, 0.1, 0.3)}
    return made.model_copy(update={"scores": made.scores.model_copy(update=more)})


def worst(cell, eps, robust, defense="none", goal="misclassify", **more):
    given = {"column": "headline", "attack": "worst", "threat": "linf", "goal": goal, "defense": defense}
    return scored(cell, **{**given, "eps": eps / 255, "robust": robust, "success": 0.5, "half": 0.0} | more)


CLEAN = {"column": "clean", "attack": "none", "goal": "", "eps": 0, "robust": 0.9}


@pytest.fixture
def sound(cell):
    """Findings that earn an A in everything."""

    def make(*more, doubts=(), without=()):
        cells = [
            scored(cell, **CLEAN),
            worst(cell, 1, 0.9, missed=bounds(0.01, 0, 0.02)),
            worst(cell, 4, 0.85, missed=bounds(0.01, 0, 0.02)),
            *more,
        ]
        return Findings(
            cells=cells,
            smallest=None if "smallest" in without else smallest(8 / 255, 9 / 255),
            detection=() if "detection" in without else (detector("d", row("pgd", 4 / 255, 0.99, 0.96)),),
            corruptions=() if "corruptions" in without else (corrupted(0.96),),
            doubts=doubts,
        )

    return make


def component(findings, name, contender="none"):
    (score,) = [one for one in scores(findings) if one.contender == contender]
    return next(one for one in score.components if one.name == name)


def test_the_best_of_everything_is_an_a_and_brier_is_shown_ungraded(sound):
    (score,) = scores(sound())
    assert score.grade == "A"
    assert {one.name: one.grade for one in score.components} == {
        bar.name: None if bar.steps is None else "A" for bar in BARS
    }
    assert component(sound(), "brier").estimate.value == 0.2
    assert score.failed == ()


def test_the_grade_is_that_of_the_worst_component(sound, cell):
    findings = sound(worst(cell, 8, 0.0))
    assert scores(findings)[0].grade == "A"  # 8/255 is no clinical budget
    poor = Findings(
        findings.cells, smallest(1 / 255, 9 / 255), findings.detection, findings.corruptions, findings.doubts
    )
    (score,) = scores(poor)
    assert score.grade == "D"
    assert "smallest fooling change" in score.reason


def test_the_pessimistic_end_of_the_interval_is_judged(sound, cell):
    value, low, high = 0.1, 0.02, 0.2
    findings = sound()
    cells = [c for c in findings.cells if c.eps != 4 / 255]
    cells.append(worst(cell, 4, 0.75, missed=bounds(value, low, high), half=0.3))
    judged = Findings(cells, findings.smallest, findings.detection, findings.corruptions, ())
    assert component(judged, "missed_findings").bound == high
    assert component(judged, "missed_findings").grade == "C"  # 10 % would be a B
    assert component(judged, "robust_large").bound == pytest.approx(0.45)
    assert component(judged, "robust_large").grade == "C"  # 75 % would be an A


def test_a_harder_budget_stands_in_and_an_easier_one_is_shown_without_a_grade(cell):
    clean = scored(cell, **CLEAN)
    harder = Findings([clean, worst(cell, 2, 0.7), worst(cell, 8, 0.6)], None, (), (), ())
    assert (component(harder, "robust_small").at, component(harder, "robust_small").grade) == ("2/255", "B")
    assert (component(harder, "robust_large").at, component(harder, "robust_large").grade) == ("8/255", "B")
    easier = Findings([clean, worst(cell, 1, 0.9), worst(cell, 2, 0.9)], None, (), (), ())
    found = component(easier, "robust_large")
    assert (found.at, found.grade, found.estimate.value) == ("2/255", None, 0.9)
    assert "easier" in found.reason
    assert scores(easier)[0].grade is None


def test_other_norms_and_other_columns_do_not_count(cell):
    clean = scored(cell, **CLEAN)
    round_ball = worst(cell, 4, 0.9, threat="l2")
    oblivious = worst(cell, 4, 0.9, column="oblivious")
    found = component(Findings([clean, round_ball, oblivious], None, (), (), ()), "robust_large")
    assert found.estimate is None
    assert "not measured" in found.reason


def test_missed_findings_are_those_of_who_wants_them(sound, cell):
    narrow = worst(cell, 4, 0.5, goal="missed-finding", missed=bounds(0.3, 0.2, 0.4))
    found = component(sound(narrow), "missed_findings")
    assert (found.bound, found.grade) == (0.4, "D")


def test_the_best_detector_on_the_attack_it_sees_worst(sound):
    findings = sound()
    blind = detector("blind", row("pgd", 4 / 255, 0.99, 0.98), row("sia", 4 / 255, 0.3, 0.2))
    fair = detector("fair", row("pgd", 4 / 255, 0.8, 0.75), row("sia", 4 / 255, 0.9, 0.88), row("sia", 1 / 255, 0, 0))
    judged = Findings(findings.cells, None, (blind, fair), (), ())
    found = component(judged, "detection")
    assert (found.bound, found.grade) == (0.75, "C")
    assert found.at == "fair at a promised 5 % of false alarms, on pgd at 4/255"
    broken = Doubt(kind="rate-not-kept", about="detector:fair", message="m")
    found = component(Findings(findings.cells, None, (blind, fair), (), (broken,)), "detection")
    assert found.at.startswith("blind")
    assert found.grade == "E"


def test_an_attack_with_few_successes_judges_no_detector_where_another_has_many(sound):
    def seen(few, many):
        found = [row("sia", 4 / 255, 0.3, 0.2), row("pgd", 4 / 255, 0.9, 0.86)]
        pairs = zip(found, (few, many), strict=True)
        one = detector(
            "d", *(r.model_copy(update={"detected": r.detected.model_copy(update={"n": n})}) for r, n in pairs)
        )
        return component(Findings(sound().cells, None, (one,), (), ()), "detection").bound

    assert (seen(9, 10), seen(10, 90), seen(3, 9)) == (0.86, 0.2, 0.2)


def test_what_was_not_measured_says_so(sound, cell):
    bare = sound(without=("smallest", "detection", "corruptions"))
    reasons = {one.name: one.reason for one in scores(bare)[0].components if one.estimate is None}
    assert set(reasons) == {"smallest", "detection", "corruptions"}
    assert all(reason.startswith("not measured") for reason in reasons.values())


def test_every_contender_has_a_score_of_its_own(sound, cell):
    jpeg = scored(cell, **{**CLEAN, "defense": "jpeg"})
    findings = sound(worst(cell, 4, 0.2, "jpeg"), worst(cell, 1, 0.3, "jpeg"), jpeg)
    bare, other = scores(findings)
    assert (bare.contender, other.contender) == ("none", "jpeg")
    assert component(findings, "robust_large", "jpeg").grade == "D"
    assert component(findings, "detection", "jpeg").estimate is None
    assert (bare.grade, other.grade) == ("A", "D")


# Enough to grade


def made(grades):
    one = bounds(0.5, 0.5, 0.5)
    return [Component(name=n, at="", estimate=one, bound=0.5, grade=g, reason="") for n, g in grades.items()]


def test_too_few_components_earn_no_grade():
    names = [bar.name for bar in GRADED if bar.name != "robust_large"]
    enough = {"robust_large": "A"} | dict.fromkeys(names[: LEAST - 1], "A")
    assert overall(made(enough), ())[0] == "A"
    fewer = {name: grade for name, grade in enough.items() if name != names[0]}
    grade, reason = overall(made(fewer), ())
    assert grade is None
    assert f"no grade: {LEAST - 1} of" in reason
    without = dict.fromkeys(names, "A")
    assert overall(made(without), ())[0] is None
    assert "1/255" not in overall(made(without), ())[1]


# Caps


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        ((), "A"),
        (("few-images",), "C"),
        (("gradient-masking",), "D"),
        (("few-images", "gradient-masking"), "D"),
        (("something-new",), "D"),
    ],
)
def test_a_failed_check_caps_the_grade(failed, expected):
    best = made(dict.fromkeys([bar.name for bar in GRADED], "A"))
    grade, reason = overall(best, failed)
    assert grade == expected
    assert ("capped" in reason) == bool(failed)
    if failed:
        assert reason.endswith("without the cap it would be A")


def test_a_cap_never_raises_a_grade():
    grades = dict.fromkeys([bar.name for bar in GRADED], "A") | {"corruptions": "E"}
    assert overall(made(grades), ("few-images", "gradient-masking"))[0] == "E"


@pytest.mark.parametrize("kind", CHECKS)
def test_no_serious_doubt_leaves_an_a(sound, kind):
    (score,) = scores(sound(doubts=(Doubt(kind=kind, about="all", message="m"),)))
    assert LETTERS.index(score.grade) >= LETTERS.index(cap(kind)) >= 2
    assert score.failed == (kind,)


def test_a_note_caps_nothing(sound):
    (score,) = scores(sound(doubts=(Doubt(kind="few-images", about="all", message="m", severity="note"),)))
    assert score.grade == "A"


def test_doubts_are_held_against_those_whom_they_concern(sound, cell):
    jpeg = worst(cell, 4, 0.9, "jpeg")
    doubts = (
        Doubt(kind="not-tested-adaptively", about=jpeg.key, message="m"),
        Doubt(kind="gradient-masking", about="defense:tvm", message="m"),
        Doubt(kind="rate-not-kept", about="detector:d", message="m"),
        Doubt(kind="shortcut", about=CLEAN["column"], message="m"),
        Doubt(kind="not-converged", about="defense:none", message="m"),
    )
    findings = sound(jpeg, doubts=doubts)
    assert [d.kind for d in concerning(findings, "jpeg")] == ["not-tested-adaptively"]
    assert [d.kind for d in concerning(findings, "tvm")] == ["gradient-masking"]
    assert [d.kind for d in concerning(findings, "none")] == ["rate-not-kept", "shortcut", "not-converged"]


def test_checks_that_had_nothing_to_look_at_are_not_counted(sound, cell):
    everything = component(sound(), "validity")
    always = sum(where == "always" for where in CHECKS.values())
    assert everything.estimate.n == sum(where != "defended" for where in CHECKS.values())
    only_clean = Findings([scored(cell, **CLEAN)], None, (), (), ())
    assert component(only_clean, "validity").estimate.n == always
    failed = sound(doubts=(Doubt(kind="shortcut", about="all", message="m"), Doubt(kind="x", about="all", message="m")))
    found = component(failed, "validity").estimate
    assert found.value == pytest.approx(1 - 2 / (everything.estimate.n + 1))  # a kind unknown here is one more check
