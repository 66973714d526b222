"""Gates: what a sentence means, at which bound it is judged, and what a doubt does to it."""

import re
from types import SimpleNamespace

import pytest

from radproof.assess.gate import judge
from radproof.assess.gate_sentence import GRAMMAR, anchor_gate, check_gates, read_gate
from radproof.core.records import Doubt
from radproof.errors import BadPlan

PLAIN = [line.strip() for line in re.sub(r"\[[^\]]*\]", "", GRAMMAR).splitlines()]
FULL = [line.strip().replace("[", "").replace("]", "") for line in GRAMMAR.splitlines()]
KNOWN = {
    "budgets": [1 / 255, 4 / 255],
    "goals": ["misclassify", "target:No Finding"],
    "attacks": ["sia", "stm[acquisition]"],
    "contenders": ["jpeg_tvm"],
    "detectors": ["frequency"],
}


@pytest.mark.parametrize("sentence", [*PLAIN, *FULL])
def test_every_form_that_the_grammar_shows_is_read(sentence):
    assert read_gate(sentence).text == sentence


def test_a_sentence_is_read_whole():
    gate = read_gate("robust_accuracy >=0.6 @4/255 for target:No Finding  with jpeg_tvm under stm[acquisition]")
    assert (gate.metric, gate.bound, gate.eps) == ("robust_accuracy", 0.6, 4 / 255)
    assert (gate.goal, gate.defense, gate.attack) == ("target:No Finding", "jpeg_tvm", "stm[acquisition]")
    gate = read_gate("not worse than ../v 1.2/run@home by 0.02 @ 1/255")
    assert (gate.run, gate.bound, gate.eps) == ("../v 1.2/run@home", 0.02, 1 / 255)
    gate = read_gate("certified_accuracy >= 0.3 @ radius 0.25 with noisy")
    assert (gate.radius, gate.eps, gate.defense) == (0.25, None, "noisy")


@pytest.mark.parametrize(
    ("sentence", "why"),
    [
        ("robust_acuracy >= 0.6 @ 4/255", "did you mean 'robust_accuracy'"),
        ("robust_accuracy <= 0.6 @ 4/255", "promised with >="),
        ("attack_success < 0.6 @ 4/255", "promised with <="),
        ("robust_accuracy >= 0.6", "a budget is missing: @ 4/255"),
        ("certified_accuracy >= 0.6 @ 4/255", "@ radius R"),
        ("robust_accuracy >= 0.6 @ radius 1", "@ radius R"),
        ("robust_accuracy >= 60 @ 4/255", "between 0 and 1"),
        ("robust_accuracy >= 0.6 @ four", "expected a number"),
        ("clean_accuracy >= 0.6 @ 4/255", "does not belong there"),
        ("robust_accuracy >= 0.6 @ 4/255 @ 1/255", "twice"),
        ("detection >= 0.9 @ 1/255", "name the detector"),
        ("grade >= F", "one of A, B, C, D, E"),
        ("not worse than there", "by how much"),
        ("no serious doubts with jpeg", "does not belong there"),
        ("the model is good", "no such form"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_grammar(sentence, why):
    with pytest.raises(BadPlan) as caught:
        read_gate(sentence)
    told = str(caught.value)
    assert repr(sentence) in told and why in told and GRAMMAR in told


@pytest.mark.parametrize(
    ("sentence", "why"),
    [
        ("robust_accuracy >= 0.6 @ 2/255", "the plan's budgets are 1/255, 4/255, not 2/255"),
        ("robust_accuracy >= 0.6 @ 4/255 with jpeg_tmv", "did you mean 'jpeg_tvm'"),
        ("robust_accuracy >= 0.6 @ 4/255 under sai", "did you mean 'sia'"),
        ("robust_accuracy >= 0.6 @ 4/255 for misclasify", "did you mean 'misclassify'"),
        ("detection >= 0.6 @ 4/255 by frequncy", "did you mean 'frequency'"),
    ],
)
def test_a_plan_must_have_what_its_gate_is_about(sentence, why):
    with pytest.raises(BadPlan, match=re.escape(why)):
        check_gates([sentence], **KNOWN)
    check_gates(["robust_accuracy >= 0.6 @ 4/255 with jpeg_tvm under stm for target:No Finding"], **KNOWN)


def test_the_run_to_compare_with_is_anchored_and_shown_by_its_name(tmp_path):
    sentence = anchor_gate("not worse than old/run by 0.1", tmp_path)
    assert sentence == f"not worse than {tmp_path}/old/run by 0.1"
    assert read_gate(sentence).shown == "not worse than run by 0.1"
    assert anchor_gate("grade >= C", tmp_path) == "grade >= C"


# Judging


@pytest.fixture
def judged(cell, clean):
    """Judge one sentence on cells made by hand: (verdict, message)."""

    def run(sentence, *cells, doubts=(), **more):
        result = SimpleNamespace(
            cells=(clean(accuracy=0.9), *cells), doubts=doubts, detection=(), certified=None, **more
        )
        (verdict,) = judge(SimpleNamespace(result=result, path=None), [sentence])
        return verdict

    return run


@pytest.fixture
def headline(cell):
    return lambda **given: cell(**{"column": "headline", "attack": "worst", "robust": 0.6, "success": 0.3, **given})


@pytest.mark.parametrize(
    ("sentence", "verdict"),
    [
        ("robust_accuracy >= 0.55 @ 4/255", "passed"),  # 0.6 ± 0.05: the low bound is the promise itself
        ("robust_accuracy >= 0.56 @ 4/255", "failed"),  # the value would do
        ("attack_success <= 0.35 @ 4/255", "passed"),
        ("attack_success <= 0.34 @ 4/255", "failed"),
        ("clean_accuracy >= 0.85", "passed"),
        ("clean_accuracy >= 0.86", "failed"),
        ("robust_accuracy >= 0.1 @ 1/255", "not established"),  # no such figure
        ("robust_accuracy >= 0.1 @ 4/255 with jpeg", "not established"),
    ],
)
def test_the_bound_of_the_interval_decides(judged, headline, sentence, verdict):
    assert judged(sentence, headline()).verdict == verdict


def test_a_promise_about_one_attack_holds_wherever_it_was_made(judged, cell):
    cells = [
        cell(attack="sia(copies=4)", robust=0.8),
        cell(attack="sia(copies=4)", column="transfer", robust=0.5),
        cell(attack="pgd", robust=0.1),
        cell(attack="sia", defense="jpeg", robust=0.1),
    ]
    verdict = judged("robust_accuracy >= 0.45 @ 4/255 under sia", *cells)
    assert verdict.verdict == "passed" and verdict.figure.value == 0.5
    assert judged("robust_accuracy >= 0.46 @ 4/255 under sia", *cells).verdict == "failed"
    own_limits = cell(attack="spatial", eps=0, robust=0.5)
    assert judged("robust_accuracy >= 0.45 under spatial", own_limits).verdict == "passed"


def doubt(about, severity="serious"):
    return Doubt(kind="k", about=about, message="gradients mislead", severity=severity)


def test_a_serious_doubt_unsettles_what_holds_and_nothing_else(judged, headline, cell, clean):
    one, part, other = headline(), cell(attack="pgd", robust=0.7), headline(eps=1 / 255)
    keeps, breaks = "robust_accuracy >= 0.5 @ 4/255", "robust_accuracy >= 0.9 @ 4/255"
    for about in ("all", one.key, part.key, clean().key):
        verdict = judged(keeps, one, part, other, doubts=[doubt(about)])
        assert verdict.verdict == "not established" and "gradients mislead" in verdict.message
        assert judged(breaks, one, part, other, doubts=[doubt(about)]).verdict == "failed"
    for harmless in (doubt("all", "note"), doubt(other.key), doubt("detector:frequency")):
        assert judged(keeps, one, part, other, doubts=[harmless]).verdict == "passed"


def test_no_serious_doubts(judged):
    assert judged("no serious doubts", doubts=[doubt("x", "note")]).verdict == "passed"
    verdict = judged("no serious doubts", doubts=[doubt("detector:frequency")])
    assert verdict.verdict == "failed" and "gradients mislead" in verdict.message


def test_grades(judged):
    def verdict(grade, sentence="grade >= C", doubts=()):
        scores = [
            SimpleNamespace(contender=name, grade=g, reason="few") for name, g in (("none", grade), ("jpeg", "B"))
        ]
        return judged(sentence, score=scores, doubts=doubts).verdict

    told = {"A": "passed", "C": "passed", "D": "failed", None: "not established"}
    assert {grade: verdict(grade) for grade in told} == told
    assert verdict("D", "grade >= C with jpeg") == "passed"
    assert verdict("A", "grade >= A with jpeg") == "failed"
    assert verdict("A", "grade >= C with tvm") == "not established"
    assert verdict("A", doubts=[doubt("all")]) == "not established"


def test_missed_findings_are_judged_where_the_attacker_wanted_them(judged, headline, measured):
    def missing(share, **given):
        made = headline(**given)
        return made.model_copy(update={"scores": made.scores.model_copy(update={"missed_findings": measured(share)})})

    any_wrong, wanted = missing(0.1), missing(0.5, goal="missed-finding")
    assert judged("missed_findings <= 0.2 @ 4/255", any_wrong, wanted).verdict == "failed"
    assert judged("missed_findings <= 0.2 @ 4/255 for misclassify", any_wrong, wanted).verdict == "passed"
    assert judged("missed_findings <= 0.2").verdict == "not established"  # the clean cell has none


def detection(measured, threshold, *detected):
    rows = [
        SimpleNamespace(kind="attack", attack=name, eps=1 / 255, budget="1/255", detected=measured(share))
        for name, share in detected
    ]
    return SimpleNamespace(detector="frequency", threshold=threshold, rows=rows)


def test_detection_is_judged_at_the_attack_that_hides_best(cell, clean, measured):
    def verdict(sentence, threshold=0.3, doubts=()):
        found = detection(measured, threshold, ("pgd", 0.95), ("sia", 0.6), ("pgd (false-alarm)", 0.2), ("fgsm", None))
        result = SimpleNamespace(cells=(clean(), cell()), doubts=doubts, detection=(found,))
        return judge(SimpleNamespace(result=result), [sentence])[0].verdict

    assert verdict("detection >= 0.55 @ 1/255 by frequency") == "passed"
    assert verdict("detection >= 0.56 @ 1/255 by frequency") == "failed"
    assert verdict("detection >= 0.9 @ 1/255 by frequency under pgd") == "passed"
    assert verdict("detection >= 0.2 @ 1/255 by frequency for false-alarm") == "failed"
    assert verdict("detection >= 0.1 @ 1/255 by frequency", threshold=None) == "not established"
    unkept = [doubt("detector:frequency")]
    assert verdict("detection >= 0.1 @ 1/255 by frequency", doubts=unkept) == "not established"


def test_certified_accuracy_is_read_at_a_radius_no_smaller(clean, measured):
    curve = [SimpleNamespace(radius=r, accuracy=measured(a)) for r, a in ((0.0, 0.9), (0.25, 0.5), (0.5, 0.3))]
    bare, noisy = cells = clean(), clean(defense="noisy")

    def verdict(sentence, network="model", doubts=()):
        made = SimpleNamespace(network=network, curve=curve)
        result = SimpleNamespace(cells=cells, doubts=doubts, detection=(), certified=made)
        return judge(SimpleNamespace(result=result), [sentence])[0]

    assert verdict("certified_accuracy >= 0.45 @ radius 0.25").verdict == "passed"
    assert verdict("certified_accuracy >= 0.45 @ radius 0.3").verdict == "failed"
    assert verdict("certified_accuracy >= 0.0 @ radius 0.6").verdict == "not established"
    assert verdict("certified_accuracy >= 0.0 @ radius 0.5 with other").verdict == "not established"

    wanted, blocked = "certified_accuracy >= 0.0 @ radius 0.25", "not established"
    for about in (bare.key, "defense:none", "all"):
        assert verdict(wanted, doubts=[doubt(about)]).verdict == blocked
    for about in (noisy.key, "defense:noisy"):
        assert verdict(wanted, doubts=[doubt(about)]).verdict == "passed"
        assert verdict(f"{wanted} with noisy", "noisy", [doubt(about)]).verdict == blocked
