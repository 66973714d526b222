"""A search becomes one plan on validation patients; the front holds what nothing beats."""

import pytest
import yaml

from radproof.assess.tune import pareto, read_search
from radproof.errors import BadPlan

RECIPE = {"architecture": "cxrnet", "input_size": 32}
BASE = {
    "name": "base",
    "data": {"kind": "phantom", "count": 60, "size": 32},
    "model": {"train": RECIPE},
    "attacks": ["pgd"],
    "budgets": ["1/255", "4/255"],
    "defenses": ["jpeg"],
    "hardened": {"first": {"train": RECIPE}, "other": {"train": RECIPE}},
}


@pytest.fixture
def search(tmp_path):
    def write(**given):
        (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
        (tmp_path / "search.yaml").write_text(yaml.safe_dump({"plan": "base.yaml", **given}))
        return read_search(tmp_path / "search.yaml")

    return write


def test_every_combination_is_a_contender_on_validation_patients(search):
    plan, _, told = search(
        images=9,
        defenses=[{"name": "jpeg", "quality": [50, 75]}, {"name": "jpeg_tvm", "quality": [50], "lam": [0.1, 1]}],
    )
    assert (plan.data.fold, plan.data.images, plan.name) == ("validation", 9, "base-tuned")
    assert [part.params for part in plan.defenses] == [
        {"quality": 50},
        {"quality": 75},
        {"quality": 50, "lam": 0.1},
        {"quality": 50, "lam": 1},
    ]
    assert told["jpeg(quality=75)"] == {"defenses": [{"name": "jpeg", "quality": 75}]}
    assert len(told) == 4
    assert not plan.hardened


def test_training_budgets_are_searched_and_what_they_begin_from_stays(search):
    entry = {"start": "first", "train": {**RECIPE, "adversarial": {"eps": ["1/255", "2/255"], "steps": [1, 2]}}}
    plan, _, told = search(hardened={"at": entry})
    assert list(plan.hardened) == ["first", "at-eps-1-255-steps-1", "at-eps-1-255-steps-2", *list(plan.hardened)[3:]]
    assert len(told) == 4
    last = plan.hardened["at-eps-2-255-steps-2"].train.adversarial
    assert (last.eps, last.steps) == (2 / 255, 2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "nothing to try"),
        ({"defenses": [{"quality": [1, 2]}]}, "needs a name"),
        ({"defenses": [{"name": "jpeg", "quality": list(range(1, 80))}]}, "at most 64"),
        ({"defenses": [{"name": "jpeg", "quality": [500]}]}, "quality"),
        ({"hardened": {"a": {"train": {**RECIPE, "seed": [0, 0]}}}}, "two candidates"),
    ],
)
def test_what_cannot_be_searched_is_refused(search, given, said):
    with pytest.raises(BadPlan, match=said):
        search(**given)


def test_the_front_holds_what_nothing_beats():
    points = {"none": (0.9, 0.0), "a": (0.8, 0.5), "b": (0.7, 0.4), "c": (0.8, 0.3), "d": (0.2, 0.6), "e": (0.8, 0.5)}
    assert pareto(points) == ["none", "a", "d", "e"]
