"""Each doubt about a detector is raised when it should be, with its figures, and not otherwise."""

from types import SimpleNamespace

import pytest

from radproof.assess.detected import BenignRow, Detection, DetectionRow
from radproof.assess.doubts_detection import detection_doubts
from radproof.core.records import Estimate


def share(value, n=60, half=0.03):
    return Estimate(value=value, low=max(0.0, value - half), high=min(1.0, value + half), method="m", n=n, patients=n)


def row(kind="attack", unseen=0.1, budget="4/255", eps=4 / 255, n=60):
    return DetectionRow(
        detector="d",
        attack={"attack": "pgd", "aware": "evasion"}.get(kind, kind),
        budget=budget,
        eps=eps,
        positives="successful",
        auroc=share(0.9),
        detected=share(0.9, n),
        undetected_success=share(unseen),
        roc=(),
        kind=kind,
    )


def benign(change, flagged, accuracy=0.8):
    return BenignRow(change=change, title=change.upper(), flagged=share(flagged), accuracy=share(accuracy))


def found(*rows, rate=0.05, **more):
    usual = {
        "threshold": 0.3,
        "promised_rate": 0.05,
        "calibration_images": 200,
        "likely_low": 0.03,
        "likely_high": 0.08,
    }
    one = Detection(detector="d", rows=rows, achieved_rate=share(rate), **{**usual, **more})
    clean = SimpleNamespace(column="clean", defense="none", scores=SimpleNamespace(accuracy=share(0.8)))
    return [
        (d.kind, d.severity, d.message) for d in detection_doubts(SimpleNamespace(cells=(clean,), detection=(one,)))
    ]


def kinds(told):
    return [(kind, severity) for kind, severity, _ in told]


SOUND = (row(), row("aware", unseen=0.3))


def test_a_sound_detector_raises_none():
    assert found(*SOUND, benign=(benign("jpeg", 0.07),), covers=("clean", "jpeg")) == []


def test_a_refusal_says_it_all():
    told = found(row(), rate=0.5, threshold=None, calibration_images=12)
    assert told == [
        ("no-threshold", "serious", "d: 12 clean images are too few to promise a false-positive rate of 5 %")
    ]


@pytest.mark.parametrize(("rate", "raised"), [(0.07, []), (0.09, [("rate-not-kept", "serious")])])
def test_the_achieved_rate_is_judged_at_its_interval(rate, raised):
    assert kinds(found(*SOUND, rate=rate)) == raised


@pytest.mark.parametrize(("high", "raised"), [(0.1, []), (0.101, [("loose-promise", "note")]), (None, [])])
def test_few_calibration_images_make_a_loose_promise(high, raised):
    assert kinds(found(*SOUND, likely_high=high)) == raised


def test_alarms_after_changes_are_serious_where_promised():
    changes = (benign("jpeg", 0.12), benign("blur", 0.31), benign("fine", 0.06), benign("ruin", 0.9, accuracy=0.4))
    told = found(*SOUND, benign=changes, covers=("clean", "jpeg", "blur", "ruin"))
    assert kinds(told) == [("benign-alarms", "serious")]
    assert told[0][2].endswith("31 % (28–34) (BLUR), 12 % (9–15) (JPEG) of clean images")
    apart = found(*SOUND, benign=changes, covers=("clean", "jpeg"))
    assert kinds(apart) == [("benign-alarms", "serious"), ("benign-alarms", "note")]
    assert "BLUR" not in apart[0][2] and "JPEG" not in apart[1][2]


def test_somebody_who_knows_must_have_tried_and_not_done_worse():
    assert kinds(found(row())) == [("no-aware-attack", "note")]
    told = found(row(unseen=0.5), row("aware", unseen=0.3))
    assert kinds(told) == [("weak-aware-attack", "serious")]
    assert "30 % (27–33)" in told[0][2] and "pgd, which does not, on 50 % (47–53)" in told[0][2]
    assert found(row(unseen=0.32), row("aware", unseen=0.3)) == []  # within noise
    assert found(row(unseen=0.5, budget="1/255", eps=1 / 255), row("aware", unseen=0.3)) == []  # another budget


def test_few_images_that_fooled_the_model_are_told():
    told = found(row(n=19), row(n=20, budget="8/255", eps=8 / 255), row("aware", 0.3, n=60), row("smallest", n=4))
    assert kinds(told) == [("few-flagged", "note")]
    assert told[0][2].endswith("pgd at 4/255 (19)")
    assert found(row(n=0), row("aware", 0.3)) == []  # nothing to tell a share of
