# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from radproof.errors import BadInput
from radproof.measure.classification import answers, describe
from radproof.measure.intervals import Resampler

LABELS = ("Normal", "Pneumonia", "Pneumothorax")
SURE = 4.0


def logits(*classes, k=3):
    return SURE * np.eye(k)[list(classes)]


def of(n):
    return Resampler([str(row) for row in range(n)], draws=200)


def test_hand_worked_three_classes():
    # Normal N, Pneumonia P: truth N N P P P, answers N P P N P; Pneumothorax occurs nowhere
    found = describe(logits(0, 1, 1, 0, 1), np.array([0, 0, 1, 1, 1]), of(5), LABELS, "softmax")
    assert found["accuracy"].value == pytest.approx(3 / 5)
    assert found["balanced_accuracy"].value == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["macro_precision"].value == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["missed_findings"].value == pytest.approx(1 / 3)
    assert found["false_alarms"].value == pytest.approx(1 / 2)
    assert found["confusion"] == ((1, 1, 0), (1, 2, 0), (0, 0, 0))
    assert found["missed_findings"].n == 3


def test_a_class_without_images_is_listed_with_no_number():
    found = describe(logits(0, 1, 2), np.array([0, 1, 1]), of(3), LABELS, "softmax")
    absent = found["per_class"][2]
    assert absent["images"] == 0
    assert {absent[key].value for key in ("precision", "recall", "f1", "auroc")} == {None}
    assert found["macro_recall"].value == pytest.approx((1 + 1 / 2) / 2)


def test_a_class_never_answered_has_precision_zero_and_says_it_is_a_convention():
    found = describe(logits(0, 0), np.array([0, 1]), of(2), LABELS, "softmax")
    never = found["per_class"][1]["precision"]
    assert (never.value, never.low, never.high) == (0, 0, 1)
    assert "convention" in never.method


def test_all_wrong_is_zero_with_an_exact_bound():
    found = describe(logits(*[1] * 20, *[0] * 20), np.array([0] * 20 + [1] * 20), of(40), LABELS, "softmax")
    assert found["accuracy"].value == 0
    assert found["accuracy"].high == pytest.approx(1 - 0.025 ** (1 / 40))
    assert found["balanced_accuracy"].high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert found["macro_auroc"].value == 0


def test_without_a_normal_class_there_are_no_missed_findings():
    found = describe(logits(0, 1, k=2), np.array([0, 1]), of(2), ("A", "B"), "softmax")
    assert found["missed_findings"] is None
    assert found["false_alarms"] is None


def test_hand_worked_findings_side_by_side():
    labels = ("Effusion", "Mass", "No Finding")
    y = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]], dtype=np.float32)
    said = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]])
    found = describe(SURE * (2 * said - 1), y, of(4), labels, "sigmoid")
    assert found["accuracy"].value == pytest.approx((3 + 0 + 1 + 3) / 12)
    assert found["missed_findings"].value == pytest.approx(1 / 2)  # the second image
    assert found["false_alarms"].value == pytest.approx(1 / 2)  # the third
    assert found["per_class"][0]["recall"].value == pytest.approx(1 / 2)
    assert found["confusion"] is None


def test_loss_and_calibration_by_hand():
    p = 1 / (1 + np.exp(-1.0))
    found = describe(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]), of(2), ("Normal", "Other"), "softmax")
    assert found["loss"].value == pytest.approx((-np.log(p) - np.log(1 - p)) / 2)
    assert found["ece"].value == pytest.approx(abs(p - 0.5))


def test_every_score_is_within_its_interval_and_the_same_each_time():
    rng = np.random.default_rng(0)
    values, y = rng.normal(size=(60, 3)), rng.integers(0, 3, 60)
    one, two = (describe(values, y, of(60), LABELS, "softmax") for _ in range(2))
    assert one == two
    scores = [value for key, value in one.items() if key not in ("per_class", "confusion")]
    assert all(score.low <= score.value <= score.high for score in scores)


def test_answers():
    assert answers([[0.1, 0.2]], "softmax").tolist() == [1]
    assert answers([[-0.1, 0.2]], "sigmoid").tolist() == [[False, True]]


def test_refuses_what_it_cannot_score():
    with pytest.raises(BadInput, match=r"expected logits \(2, 3\)"):
        describe(logits(0, k=3), np.array([0, 1]), of(2), LABELS, "softmax")
    with pytest.raises(BadInput, match="for 1 of 2 images"):
        describe(np.array([[np.nan, 0, 0], [0, 0, 1]]), np.array([0, 1]), of(2), LABELS, "softmax")
