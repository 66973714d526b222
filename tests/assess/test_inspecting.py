import pytest

from radproof.assess.doubts_origin import overstated
from radproof.core.records import Estimate
from radproof.models.card import ModelCard


def card(accuracy):
    metrics = {} if accuracy is None else {"accuracy": accuracy}
    return ModelCard(architecture="onnx", labels=("a", "b"), mean=(0.5,) * 3, std=(1.0,) * 3, metrics=metrics)


def found(low, high):
    return Estimate(value=(low + high) / 2, low=low, high=high, method="", n=50)


@pytest.mark.parametrize("stated", [0.91, 0.99, 91, 100, 1.0])
def test_an_accuracy_beyond_the_interval_is_told(stated):
    said = overstated(card(stated), found(0.7, 0.9))
    assert said.startswith("its card states an accuracy of ") and "on 50 labelled images it is 80 % (70–90)" in said


@pytest.mark.parametrize("stated", [None, 0.5, 0.9, 90, 0.0])
def test_an_accuracy_within_or_below_is_not(stated):
    assert overstated(card(stated), found(0.7, 0.9)) == ""


def test_nothing_measured_contradicts_nothing():
    assert overstated(card(1.0), Estimate(value=None, low=None, high=None, method="", n=0)) == ""
