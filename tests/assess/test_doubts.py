"""Each check raises its doubt when it should, with its figures, and stays silent when it should."""

import pytest

from radproof.assess.detected import Detection
from radproof.assess.doubts import doubts
from radproof.assess.result import Shortcut


def kinds(evidence):
    return [doubt.kind for doubt in doubts(evidence)]


def test_sound_evidence_raises_none(evidence, cell, clean):
    cells = (
        clean(),
        cell(attack="fgsm", robust=0.4, success=0.5),
        cell(attack="pgd", robust=0.1, success=0.9, success_float=0.92),
        cell(attack="worst", robust=0.1, success=0.9),
        cell(attack="worst", eps=8 / 255, robust=0.0, success=1.0),
    )
    assert kinds(evidence(*cells)) == []


def test_a_shortcut_that_is_not_cleared(evidence, clean, measured):
    thumbnail = Shortcut(name="thumbnail", auroc=measured(0.79), accuracy=measured(0.7))
    found = doubts(evidence(clean(auroc=0.81), shortcuts=(thumbnail,)))
    assert [doubt.kind for doubt in found] == ["shortcut"]
    assert "0.81 (0.76–0.86)" in found[0].message
    assert "8×8 thumbnail (0.79" in found[0].message
    assert kinds(evidence(clean(auroc=0.9), shortcuts=(thumbnail,))) == []


def test_few_patients_are_said_per_class(evidence, clean):
    found = doubts(evidence(clean(patients=8)))
    assert [(doubt.kind, doubt.about, doubt.severity) for doubt in found] == [("few-images", "class:Normal", "note")]


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({}, ("defense:none", "serious")),
        ({"column": "adaptive", "defense": "jpeg"}, ("defense:jpeg", "serious")),
        ({"column": "headline", "attack": "worst", "defense": "jpeg"}, ("defense:jpeg", "serious")),
        ({"attack": "fgsm"}, ("oblivious | fgsm | misclassify | 4/255 | none", "note")),
        ({"defense": "jpeg"}, ("oblivious | pgd | misclassify | 4/255 | jpeg", "note")),
        ({"column": "transfer"}, ("transfer | pgd | misclassify | 4/255 | none", "note")),
    ],
)
def test_more_budget_must_not_leave_more(evidence, cell, clean, about, expected):
    def found(after):
        small, large = (cell(eps=e, robust=r, **about) for e, r in ((1 / 255, 0.3), (4 / 255, after)))
        return [d for d in doubts(evidence(clean(), small, large)) if d.kind != "not-tested-adaptively"]

    assert [(d.kind, d.about, d.severity) for d in found(0.5)] == [("not-monotone", *expected)]
    assert "(45–55)" in found(0.5)[0].message
    assert found(0.34) == []  # 29 to 39: within noise
    apart = cell(eps=4 / 255, robust=0.5, **{**about, "defense": "tvm"})
    assert "not-monotone" not in kinds(evidence(clean(), cell(eps=1 / 255, robust=0.3, **about), apart))


def test_few_images_that_were_right_carry_no_claim(evidence, cell, clean):
    few = cell(column="headline", attack="worst", robust=0.1, success=0.2, defense="jpeg")
    few = few.model_copy(update={"success": few.success.model_copy(update={"n": 29})})
    found = doubts(evidence(clean(), few))
    assert [(d.kind, d.about, d.severity) for d in found] == [("few-images", "defense:jpeg", "serious")]
    assert "29 images" in found[0].message
    enough = few.model_copy(update={"success": few.success.model_copy(update={"n": 30})})
    assert kinds(evidence(clean(), enough)) == []


def test_one_step_must_not_beat_many(evidence, cell, clean):
    cells = (clean(), cell(attack="fgsm", success=0.8), cell(attack="pgd", success=0.5))
    assert kinds(evidence(*cells)) == ["one-step-beats-iterative"]
    assert kinds(evidence(clean(), cell(attack="fgsm", success=0.54), cell(attack="pgd", success=0.5))) == []


def test_images_from_elsewhere_must_not_beat_the_models_own(evidence, cell, clean):
    own = cell(attack="worst", success=0.5)
    found = doubts(evidence(clean(), own, cell(attack="worst", column="transfer", success=0.8)))
    assert [(d.kind, d.about) for d in found] == [("black-box-beats-white-box", "defense:none")]
    assert kinds(evidence(clean(), own, cell(attack="worst", column="transfer", success=0.54))) == []


def test_noise_must_do_far_less_than_the_attacks(evidence, cell, clean, measured):
    worst = cell(attack="worst", robust=0.6, success=0.3)
    assert kinds(evidence(clean(), worst, noise={4 / 255: measured(0.65)})) == ["noise-does-as-much"]
    assert kinds(evidence(clean(), worst, noise={4 / 255: measured(0.89)})) == []


def test_an_adaptive_attack_weaker_than_an_oblivious_one_proves_nothing(evidence, cell, clean):
    oblivious = cell(attack="worst", defense="jpeg", success=0.6)
    weak = cell(attack="worst", defense="jpeg", column="adaptive", success=0.4)
    strong = cell(attack="worst", defense="jpeg", column="adaptive", success=0.7)
    assert kinds(evidence(clean(), oblivious, weak)) == ["weak-adaptive-attack"]
    assert kinds(evidence(clean(), oblivious, strong)) == []
    as_weak = cell(attack="worst", defense="jpeg", column="adaptive", success=0.56)  # within the other's interval
    assert kinds(evidence(clean(), oblivious, as_weak)) == []


def test_a_defence_that_nobody_attacked_knowingly_is_not_tested(evidence, cell, clean):
    oblivious = cell(attack="worst", defense="jpeg", success=0.1)
    headline = cell(attack="worst", defense="jpeg", column="headline", success=0.1)
    found = doubts(evidence(clean(), oblivious, headline))
    assert [(doubt.kind, doubt.about) for doubt in found] == [("not-tested-adaptively", headline.key)]


def test_what_rounding_undoes_is_noted(evidence, cell, clean):
    assert kinds(evidence(clean(), cell(success=0.5, success_float=0.7))) == ["lost-in-rounding"]


def test_leaks_changed_data_and_memory(evidence, clean):
    assert kinds(evidence(clean(), audit={"shared_patients": ("a", "b")})) == ["leakage"]
    assert kinds(evidence(clean(), patient="")) == ["leakage-not-verifiable"]
    assert kinds(evidence(clean(), source={"patients": "series"})) == ["leakage-not-verifiable"]
    assert kinds(evidence(clean(), source={"patients": "known"})) == []
    assert kinds(evidence(clean(), fingerprint="other")) == ["training-data-not-verifiable"]
    assert kinds(evidence(clean(), halvings=2)) == ["out-of-memory"]


def test_detectors_that_promise_nothing_or_break_their_promise(evidence, clean, measured):
    refused = Detection(
        detector="a", threshold=None, promised_rate=0.05, calibration_images=9, achieved_rate=measured(0.0, 0), rows=()
    )
    broken = refused.model_copy(update={"detector": "b", "threshold": 1.0, "achieved_rate": measured(0.3)})
    kept = broken.model_copy(update={"achieved_rate": measured(0.07)})
    serious = [d.kind for d in doubts(evidence(clean(), detection=(refused, broken, kept))) if d.severity == "serious"]
    assert [kind for kind in serious if kind != "few-images"] == ["no-threshold", "rate-not-kept"]


def test_validation_images_are_for_choosing(evidence, clean):
    assert "chosen-on-these-images" not in {d.kind for d in doubts(evidence(clean()))}
    (loaded,) = [d for d in doubts(evidence(clean(), fold="validation")) if d.kind == "chosen-on-these-images"]
    (trained,) = [
        d for d in doubts(evidence(clean(), fold="validation", train=1)) if d.kind == "chosen-on-these-images"
    ]
    assert (loaded.severity, trained.severity) == ("note", "serious")
