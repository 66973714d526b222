# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import dataclass, replace

import pytest
import torch

from radproof.core.depth import EIGHT
from radproof.detectors.benign import benign
from radproof.detectors.calibrate import Threshold, calibrate
from radproof.detectors.guard import Choice, fit_guard
from radproof.detectors.screening import Reading, answers, reasons_for, verdict_of
from radproof.detectors.sentry import thinned
from radproof.errors import BadInput, BadModel, UnknownName


@pytest.fixture
def make(cheap, model, pictures):
    """A guard of 60 clean images and 40 calibration images; whatever is given differs."""

    def made(n=40, asked=model, **more):
        settings = {"calibration": {"clean": pictures(n, 1)}, "outside": Choice(name="level")} | more
        return fit_guard(
            asked,
            Choice(name="rough"),
            pictures(60, 0),
            [settings.pop("calibration")],
            model_fingerprint="abc",
            **settings,
        )

    return made


def grainy(x):
    return (x + 0.16 * (torch.arange(x.shape[3]) % 2) - 0.08).clamp(0, 1)


def test_clean_grainy_and_bright_images_get_their_verdicts(make, pictures):
    guard, x = make(), pictures(30, 2)
    clear = guard.screen(x)
    assert sum(one.verdict == "clear" for one in clear) >= 25
    assert all(not one.reasons for one in clear if one.verdict == "clear")
    rough = guard.screen(grainy(x))
    assert all(one.suspicion.flagged for one in rough)
    assert sum(one.verdict == "suspicious" for one in rough) >= 26  # the rest lies outside too
    bright = guard.screen(1 - 0.02 * x)
    assert {one.verdict for one in bright} == {"outside the model's data"}  # it wins: these are rough in no way
    assert all(one.outside.flagged for one in bright)


def test_the_reasons_name_the_measure_and_the_share_of_clean_images(make, pictures):
    found = next(one for one in make().screen(grainy(pictures(3, 2))) if one.verdict == "suspicious")
    assert found.reasons[0] == "Rough: more unusual than all 40 clean images."
    assert found.reasons[1].startswith("Size of differences across: ")
    assert found.reasons[1].endswith(" spreads from the usual.")
    assert len(found.reasons) == 3


def test_what_is_said_is_what_model_detector_and_threshold_say(make, model, pictures):
    guard, x = make(), pictures(7, 2)
    logits = torch.cat([model(part) for part in x.split(5)])
    p = logits.double().softmax(1)
    scores, clean = guard.suspicion.fitted.score(x), guard.suspicion.fitted.score(pictures(40, 1))
    threshold = calibrate(clean, false_positive_rate=0.025)  # half: the other half is for images outside
    for row, one in enumerate(guard.screen(x)):
        assert one.prediction == (model.labels[int(p[row].argmax())],)
        assert one.confidence == pytest.approx(float(p[row].max()))
        assert list(one.probabilities) == list(model.labels)
        assert sum(one.probabilities.values()) == pytest.approx(1)
        assert one.suspicion.score == pytest.approx(float(scores[row]))
        assert one.suspicion.threshold == threshold
        assert one.suspicion.tail == pytest.approx((1 + int((clean >= scores[row]).sum())) / 41)


def test_an_image_is_judged_alike_alone_and_among_others(make, pictures):
    guard, x = make(), torch.cat([pictures(6, 2), grainy(pictures(6, 3))])
    together = guard.screen(x)
    for row in range(12):
        alone = guard.screen(x[row : row + 1])[0]
        assert (alone.verdict, alone.prediction) == (together[row].verdict, together[row].prediction)
        assert alone.suspicion.score == pytest.approx(together[row].suspicion.score, rel=1e-6)
        assert len(alone.reasons) == len(together[row].reasons)


def test_too_few_calibration_images_establish_nothing(make, pictures):
    guard = make(n=12)
    found = guard.screen(torch.cat([pictures(2, 2), grainy(pictures(2, 2))]))
    assert {one.verdict for one in found} == {"not established"}
    assert all(
        "at least 39 are needed (2 detectors share the 5 %" in one.reasons[0] and one.suspicion.threshold.value is None
        for one in found
    )
    assert guard.suspicion.watch() is None


def test_by_view_each_has_its_own_threshold_and_an_unknown_one_none(make, pictures):
    x = pictures(80, 1)
    x[40:] = grainy(x[40:])  # AP images of this house are grainy, and so must not be flagged for it
    views = ["PA"] * 40 + ["AP"] * 40
    guard = make(calibration={"clean": x}, by="view", views=views, outside=None)
    new = torch.cat([grainy(pictures(10, 2))] * 3)
    found = guard.screen(new, views=["PA"] * 10 + ["AP"] * 10 + ["LL"] * 10)
    assert sum(one.verdict == "suspicious" for one in found[:10]) >= 9
    assert sum(one.verdict == "clear" for one in found[10:20]) >= 7
    assert {one.verdict for one in found[20:]} == {"not established"}
    assert "no calibration image was of view 'LL'" in found[25].reasons[0]
    for wrong in (None, ["PA"]):
        with pytest.raises(BadInput, match="say the view of each of the 30 images"):
            guard.screen(new, views=wrong)
    with pytest.raises(BadInput, match="the view of each image"):
        make(by="view")


def test_by_class_goes_by_the_models_answer(make, model, pictures):
    x = pictures(200, 1)
    guard = make(calibration={"clean": x}, by="class", outside=None)
    answer = torch.cat([model(part) for part in x.split(5)]).argmax(1)
    scores = guard.suspicion.fitted.score(x)
    for k, label in enumerate(model.labels):
        own = calibrate(scores[answer == k], false_positive_rate=0.05)
        assert guard.suspicion.thresholds.of(label) == own
    for one in guard.screen(pictures(5, 3)):
        assert one.suspicion.threshold == guard.suspicion.thresholds.of(one.prediction[0])


def test_the_promise_covers_every_change_that_was_given(make, pictures):
    x = pictures(60, 1)
    changes = {"clean": x} | {h.name: (lambda h=h: h.apply(x, EIGHT)) for h in benign(EIGHT)}
    guard = make(calibration=changes)
    assert guard.suspicion.thresholds.covers == tuple(changes)
    value = guard.suspicion.thresholds.of().value
    alone = [
        calibrate(guard.suspicion.fitted.score(h.apply(x, EIGHT)), false_positive_rate=0.025).value
        for h in benign(EIGHT)
    ]
    assert value == pytest.approx(max(alone))


def test_the_rate_is_of_any_alarm(make, pictures):
    two, one = make(n=200, false_positive_rate=0.2), make(n=200, false_positive_rate=0.2, outside=None)
    assert two.suspicion.thresholds.promised == two.outside.thresholds.promised == 0.1
    assert one.suspicion.thresholds.promised == 0.2
    x = pictures(200, 1)  # the calibration images: a fifth of them, less one or two by the rank
    alone = sum(said.verdict != "clear" for said in one.screen(x))
    both = [sum(bool(role.flagged) for role in (s.suspicion, s.outside)) for s in two.screen(x)]
    assert 38 <= alone <= 40
    assert 38 <= sum(both) <= 40
    assert sum(map(bool, both)) <= 40


def test_a_refusal_is_plain_where_one_detector_has_the_whole_rate(make):
    reason = make(n=12, outside=None).suspicion.thresholds.of().reason
    assert reason.endswith("at least 19 are needed")


def test_in_pieces_as_in_one(cheap, model, pictures):
    x, views = pictures(90, 1), ["PA", "AP", "AP"] * 30

    def made(sizes, **more):
        pieces = ({"clean": part, "grain": lambda part=part: grainy(part)} for part in x.split(sizes))
        return fit_guard(model, Choice(name="rough"), pictures(60, 0), pieces, model_fingerprint="abc", **more)

    for more in ({}, {"by": "view", "views": views}, {"by": "class"}, {"patients": [f"p{k // 2}" for k in range(90)]}):
        whole, parts = (made(sizes, false_positive_rate=0.2, **more).suspicion for sizes in (90, 32))
        assert whole.thresholds == parts.thresholds
        assert torch.equal(whole.clean, parts.clean)
    for wrong in (views[:60], views[:-1], [*views, "PA"]):
        with pytest.raises(BadInput, match="the view of each image"):
            made(32, by="view", views=wrong)


def test_harmless_changes_can_be_learnt_from_besides(make, pictures):
    changed = {"noise": grainy(pictures(60, 0))}
    assert make().suspicion.fitted.score(changed["noise"]).mean() > 5
    assert make(changed=changed).suspicion.fitted.score(changed["noise"]).mean() < 4


def test_one_image_of_each_patient_sets_the_threshold(make, pictures):
    named = [f"p{row // 2}" for row in range(40)]
    guard = make(calibration={"clean": pictures(40, 1)}, patients=named)
    assert guard.suspicion.thresholds.of().n == 20
    assert (guard.about.images, guard.about.patients) == (40, 20)


def test_findings_side_by_side(make, model, pictures):
    guard = make(asked=replace(model, head="sigmoid", labels=("a", "b", "c")))
    for one in guard.screen(pictures(20, 2)):
        there = {name for name, p in one.probabilities.items() if p > 0.5}
        top = max(one.probabilities.values())
        assert set(one.prediction) == there
        assert one.confidence == (top if there else 1 - top)
        assert one.group == (max(one.probabilities, key=one.probabilities.get) if there else "no finding")


@pytest.mark.parametrize(
    "wrong",
    [
        torch.rand(1, 3, 32, 32),
        torch.rand(1, 1, 1, 1),
        torch.rand(2, 1, 32, 31),
        torch.rand(1, 1, 224, 224),
        torch.rand(1, 32, 32),
        torch.rand(1, 2, 32, 32),
        torch.full((1, 1, 32, 32), math.nan),
        torch.full((1, 1, 32, 32), math.inf),
        torch.full((1, 1, 32, 32), 2.0),
        torch.zeros(1, 1, 32, 32, dtype=torch.uint8),
    ],
    ids=["colour", "one pixel", "another size", "larger", "no batch", "two channels", "NaN", "inf", "above 1", "uint8"],
)
def test_what_it_was_not_made_for_is_refused_with_a_sentence(make, wrong):
    with pytest.raises(BadInput, match=r"was made for grey images of 32 × 32 pixels in 8 bits|expected|not numbers"):
        make().screen(wrong)


def test_no_images_get_no_answers(make):
    assert make().screen(torch.zeros(0, 1, 32, 32)) == ()


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_images_are_answered(make, value):
    found = make().screen(torch.full((2, 1, 32, 32), value))
    assert found[0] == found[1]
    assert found[0].verdict != "clear"


def test_a_model_without_numbers_is_refused(make, pictures):
    @dataclass(frozen=True)
    class Broken:
        labels: tuple = ("a", "b")
        head: str = "softmax"
        micro_batch: int = 4

        def __call__(self, x):
            return torch.full((len(x), 2), math.nan)

    with pytest.raises(BadModel, match="NaN"):
        replace(make(), model=Broken()).screen(pictures(1, 0))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"calibration": {}}, "clean images first"),
        ({"calibration": {"clean": torch.rand(30, 1, 20, 20)}}, "32 × 32"),
        ({"calibration": {"clean": torch.rand(30, 3, 32, 32)}}, "colour images"),
        ({"calibration": {"clean": torch.rand(30, 1, 32, 32), "jpeg-90": torch.rand(29, 1, 32, 32)}}, "same images"),
    ],
)
def test_what_no_guard_can_be_made_from(make, more, words):
    with pytest.raises(BadInput, match=words):
        make(**more)
    with pytest.raises(UnknownName, match="no detector named 'ruff'"):
        make(outside=Choice(name="ruff"))


def test_a_detector_aware_attacker_sees_suspicion_threshold_and_spread(make, pictures):
    guard = make()
    watch = guard.suspicion.watch()
    x = pictures(3, 2).requires_grad_()
    assert torch.allclose(watch.suspicion(x).double(), guard.suspicion.fitted.score(x.detach()))
    watch.suspicion(x).sum().backward()
    assert x.grad.abs().sum() > 0
    clean = guard.suspicion.fitted.score(pictures(40, 1))
    assert clean.min() < watch.threshold <= clean.max()
    assert 0.5 < watch.spread / clean.std().item() < 1.5


def test_two_thousand_scores_are_kept_with_both_ends():
    scores = torch.rand(12345, dtype=torch.float64)
    kept = thinned(scores)
    assert (kept.dtype, len(kept)) == (torch.float32, 2000)
    assert (kept[0], kept[-1]) == (scores.min().float(), scores.max().float())
    assert torch.allclose(kept.double().quantile(0.95), scores.quantile(0.95), atol=1e-3)
    assert torch.equal(thinned(scores[:50]), scores[:50].float().sort().values)


def reading(score, value, tail=0.5, clean=199):
    return Reading(
        detector="x",
        score=score,
        threshold=Threshold(value=value, promised=0.05, n=9, reason="y"),
        tail=tail,
        clean=clean,
    )


def test_the_verdict_by_every_pair_of_readings():
    low, high, open_ = reading(0, 1), reading(2, 1), reading(2, None)
    found = [verdict_of(low, None), verdict_of(high, None), verdict_of(open_, None)]
    found += [verdict_of(s, o) for o in (low, high, open_) for s in (low, high, open_)]
    assert len(found) == 12
    by_hand = "clear suspicious none | clear suspicious none | outside outside outside | none suspicious none"
    short = {"not established": "none", "outside the model's data": "outside"}
    assert [short.get(verdict, verdict) for verdict in found] == by_hand.replace("| ", "").split()


def test_a_score_is_no_alarm_at_its_threshold():
    assert reading(1, 1).flagged is False
    assert reading(1.0000001, 1).flagged is True


@pytest.mark.parametrize(("tail", "words"), [(0.005, "all 199"), (0.01, "99.5 % of"), (0.055, "95 % of")])
def test_a_tail_in_words(tail, words):
    assert reasons_for(reading(2, 1, tail), {})[0] == f"X: more unusual than {words} clean images."


def test_the_three_largest_measures_are_told():
    told = reasons_for(reading(2, 1), {"a": 1.0, "b": 12.34, "c": 2.26, "d": 1e9})
    assert told[1:] == (
        "D: more than 100 spreads from the usual.",
        "B: 12 spreads from the usual.",
        "C: 2.3 spreads from the usual.",
    )
    assert reasons_for(reading(0, 1), {"a": 9.0}) == ()


def test_an_answer_needs_numbers(model):
    with pytest.raises(BadModel, match="NaN or infinity"):
        answers(torch.tensor([[math.inf, 0, 0]]), model)
