"""What the probes find becomes a doubt about that contender alone, with its figures, and only beyond noise."""

import pytest

from radproof.assess.doubts import doubts
from radproof.assess.result import serious
from radproof.assess.verdict import verdict
from radproof.core.records import Doubt


def found(evidence, clean, *probes, **given):
    return [d for d in doubts(evidence(clean(), probed=probes, **given))]


def test_a_sound_contender_raises_none(evidence, clean, probed):
    assert found(evidence, clean, probed(), probed(name="none"), probed(random=True, apart=0.3)) == []


def cases(versus, measured):
    """Kind, what raises it, what is just within bounds, and figures of the sentence."""
    return {
        "probabilities": ({"probabilities": True}, {}, "100 images"),
        "constant-answers": ({"constant": True}, {}, "100 different images"),
        "batch-dependence": ({"alone": 0.02}, {"alone": 0.0009}, "2 %"),
        "dead-gradients": ({"dead": measured(0.3)}, {}, "30 % (25–35) of 100 images"),
        "loss-does-not-rise": ({"rose": measured(0.6), "rising": 0.4}, {"rose": measured(0.87)}, "60 % (55–65)"),
        "gradient-masking": ({"huge": measured(0.2)}, {}, "20 % (15–25) of 100 images"),
        "one-step-beats-iterative": ({"one_step": versus(0.5, 0.3)}, {"one_step": versus(0.5, 0.46)}, "30 % (25–35)"),
        "black-box-beats-white-box": ({"square": versus(0.5, 0.3)}, {"square": versus(0.5, 0.46)}, "50 % (45–55)"),
        "loss-saturates": ({"margin": versus(0.5, 0.3)}, {"margin": versus(0.5, 0.46)}, "30 % (25–35)"),
        "not-converged": ({"longer": versus(0.5, 0.3)}, {"longer": versus(0.5, 0.46)}, "50 % (45–55)"),
        "noise-does-as-much": (
            {"noise": versus(0.9, 0.5), "attacked": versus(0.9, 0.4)},
            {"noise": versus(0.9, 0.6), "attacked": versus(0.9, 0.2)},
            "50 % (45–55)",
        ),
        "random-answers": ({"apart": 0.1, "variance": 0.02}, {"apart": 1e-6}, "variance of the confidence"),
        "random-without-eot": (
            {"random": True, "eot": 1, "apart": 0.1, "variance": 0.02},
            {"random": True, "eot": 8, "apart": 0.1},
            "0.02",
        ),
    }


KINDS = list(cases(lambda *_: None, lambda *_: None))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["jpeg", "none"])
def test_each_is_raised_about_its_contender_and_not_within_noise(evidence, clean, probed, versus, measured, kind, name):
    raised, within, figures = cases(versus, measured)[kind]
    about = f"defense:{name}"
    if kind == "noise-does-as-much" and name == "none":
        assert found(evidence, clean, probed(name=name, **raised)) == []  # judged on all images instead
        return
    (doubt,) = found(evidence, clean, probed(name="tvm"), probed(name=name, **raised))
    assert (doubt.kind, doubt.about, doubt.severity) == (kind, about, "serious")
    assert figures in doubt.message
    assert ("the bare model" if name == "none" else "jpeg") in doubt.message
    assert found(evidence, clean, probed(name=name, **within)) == []


def test_a_difference_below_a_point_is_none_however_sure(evidence, clean, probed, versus):
    assert found(evidence, clean, probed(margin=versus(0.5, 0.491, low=0.001))) == []
    assert len(found(evidence, clean, probed(margin=versus(0.5, 0.489, low=0.001)))) == 1
    assert found(evidence, clean, probed(longer=None)) == []  # no attack within an L-infinity budget


@pytest.mark.parametrize(
    ("given", "severity"),
    [({"dead": 0.04}, "note"), ({"broken": 0.06}, "serious"), ({"absent": 1.0}, "serious")],
)
def test_a_few_useless_gradients_are_a_note(evidence, clean, probed, measured, given, severity):
    shares = {name: measured(value, 0.02) for name, value in given.items()}
    (doubt,) = found(evidence, clean, probed(**shares))
    assert (doubt.kind, doubt.severity) == ("dead-gradients", severity)


def test_one_image_left_at_a_huge_budget_is_a_note(evidence, clean, probed, measured):
    (doubt,) = found(evidence, clean, probed(huge=measured(0.02, 0.02)))
    assert (doubt.kind, doubt.severity) == ("gradient-masking", "note")


def test_too_few_draws_are_a_note(evidence, clean, probed, measured):
    (doubt,) = found(evidence, clean, probed(random=True, agreement=measured(0.7)))
    assert (doubt.kind, doubt.severity) == ("eot-too-small", "note")
    assert "0.70 (0.65–0.75), 100 images" in doubt.message
    assert found(evidence, clean, probed(random=True, agreement=measured(0.95))) == []


def test_gradients_of_chance_are_serious(evidence, clean, probed, measured):
    (doubt,) = found(evidence, clean, probed(random=True, agreement=measured(0.1)))
    assert (doubt.kind, doubt.severity) == ("eot-too-small", "serious")


def test_what_was_said_of_the_bare_model_before_is_not_said_twice(evidence, clean, probed):
    said = Doubt(kind="probabilities", about="all", message="so it is")
    assert found(evidence, clean, probed(name="none", probabilities=True), preflight=(said,)) == [said]


def test_serious_means_about_the_cell_its_contender_or_all(cell):
    one = cell(defense="jpeg")
    about = (one.key, "all", "defense:jpeg", "defense:none", "defense:jp", "class:Normal")
    told = [Doubt(kind="k", about=name, message="m") for name in about]
    notes = [doubt.model_copy(update={"severity": "note"}) for doubt in told]
    assert [d.about for d in serious([*told, *notes], one)] == [one.key, "all", "defense:jpeg"]
    assert [d.about for d in serious(told, cell())] == ["all", "defense:none"]


@pytest.mark.parametrize(("about", "established"), [("defense:jpeg", False), ("defense:none", True), ("all", False)])
def test_what_a_doubted_defence_brings_is_not_established(cell, clean, about, established):
    cells = (
        clean(),
        clean(defense="jpeg"),
        cell(column="headline", attack="worst", robust=0.1, success=0.9),
        cell(column="headline", attack="worst", defense="jpeg", robust=0.6, success=0.3),
    )
    doubt = Doubt(kind="dead-gradients", about=about, message="its gradients are dead")
    said = verdict(cells, None, (doubt,))
    assert ("it helps." in said) is established
    assert ("whether it helps is not established" in said) is not established
    assert ("as its gradients are dead" in said) is (about == "defense:jpeg")


def test_what_does_not_even_look_good_needs_no_doubt(cell, clean):
    cells = (
        clean(),
        clean(defense="jpeg"),
        cell(column="headline", attack="worst", robust=0.1, success=0.9),
        cell(column="headline", attack="worst", defense="jpeg", robust=0.12, success=0.9),
    )
    for about, said in (("defense:jpeg", "it does not help"), ("defense:none", "not established")):
        assert said in verdict(cells, None, (Doubt(kind="k", about=about, message="m"),))


def test_a_bare_model_with_masked_gradients_withstood_nothing(cell, clean):
    cells = (clean(), cell(column="headline", attack="worst", robust=0.85, success=0.05))
    assert verdict(cells, None, ()).startswith("The model withstood")
    doubt = Doubt(kind="gradient-masking", about="defense:none", message="gradients mislead")
    assert verdict(cells, None, (doubt,)).startswith("Resistance is not established")
