"""What is doubted of models that come from elsewhere, and of what they are shown."""

from types import SimpleNamespace

import pytest

from radproof.assess.doubts_origin import origin_doubts


@pytest.fixture
def raised(evidence, clean):
    def find(**given):
        return {doubt.kind: doubt for doubt in origin_doubts(evidence(clean(), **given))}

    return find


def test_a_model_of_ones_own_gives_no_rise_to_doubt(raised):
    assert raised() == {}


def test_a_model_that_only_answers_is_told_with_what_was_carried_over(raised):
    alone, carried = (
        raised(only_answers=True)["black-box"],
        raised(only_answers=True, surrogates={"other": 1})["black-box"],
    )
    assert alone.severity == "serious"
    assert "made on other networks" not in alone.message
    assert "made on other networks" in carried.message


def test_what_was_done_to_a_file_is_noted(raised):
    card = SimpleNamespace(notes=("a softmax was taken off",), file="model.onnx", imported="ab", metrics={})
    doubt = raised(card=card)["imported"]
    assert (doubt.severity, "model.onnx: a softmax was taken off" in doubt.message) == ("note", True)


def test_what_images_say_against_a_stated_card_is_serious(raised):
    assert raised(problem="another range is likelier")["conventions"].severity == "serious"


def test_left_out_detectors_are_noted(raised):
    assert "several sizes" in raised(untaught="several sizes")["no-detector"].message


@pytest.mark.parametrize(
    ("views", "told"),
    [(["PA", "AP"], None), (["LL", "LL"], None), (["PA", "LL", "pa", "lateral"], "2 of 4 images"), (["", "LL"], None)],
)
def test_lateral_views_among_frontal_ones_are_noted(raised, views, told):
    doubt = raised(views=views).get("lateral-views")
    assert (doubt is None) if told is None else told in doubt.message
