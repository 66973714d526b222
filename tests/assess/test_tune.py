"""A search becomes one plan on validation patients; the front holds what nothing beats."""

from types import SimpleNamespace

import pytest
import yaml

from radproof.assess.tune import Search, pareto, read_search, tuned
from radproof.errors import BadInput, BadPlan

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
    def write(base=None, **given):
        (tmp_path / "base.yaml").write_text(yaml.safe_dump({**BASE, **(base or {})}))
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
        ({"defenses": [{"name": "jpeg", "quality": []}]}, "no value for jpeg: quality"),
        ({"defenses": [{"name": "jpeg", "params": None}]}, "params"),
        ({"hardened": {"a": {"train": {**RECIPE, "seed": []}}}}, "no value for a.train.seed"),
        ({"hardened": {"a": {"start": 5, "train": RECIPE}}}, "start"),
        ({"hardened": {"a": {"of": [["first"], "other"]}}}, "of"),
        ({"base": {"hardened": None}, "defenses": [{"name": "jpeg"}]}, "hardened"),
        ({"base": {"data": "phantom"}, "defenses": [{"name": "jpeg"}]}, "data"),
    ],
)
def test_what_cannot_be_searched_is_refused(search, given, said):
    with pytest.raises(BadPlan, match=said):
        search(**given)


def test_what_a_candidate_begins_from_may_be_written_in_short(search, tmp_path):
    base = {"hardened": {"other": "m2", "idle": "m3", "both": {"of": ["other", "model"]}}}
    plan, _, _ = search(base, hardened={"a": {"start": "both", "teacher": None, "train": {**RECIPE, "seed": [1, 2]}}})
    assert set(plan.hardened) == {"other", "both", "a-seed-1", "a-seed-2"}
    assert plan.hardened["other"].path == str(tmp_path / "m2")


def finished(*cells):
    return SimpleNamespace(cells=cells, gains=(), images=9, patients=7, detection=())


def headline(cell, defense, robust, eps=4, goal="misclassify"):
    given = {"column": "headline", "attack": "worst", "success": 0.5, "threat": "linf"}
    return cell(**given, defense=defense, robust=robust, eps=eps / 255, goal=goal)


def test_candidates_are_told_from_best_to_worst_under_attack_at_one_budget(cell, clean):
    shares = {"none": (0.9, 0.0), "a": (0.8, 0.5), "b": (0.7, 0.4), "c": (0.8, 0.5), "d": (0.85, 0.4)}
    cells = [clean(defense=name, accuracy=right) for name, (right, _) in shares.items()]
    for name, (_, robust) in shares.items():
        cells += [headline(cell, name, robust), headline(cell, name, 1 - robust, eps=1)]
        cells += [headline(cell, name, 1 - robust, goal="missed-finding")]
        cells += [cell(column="adaptive", defense=name, robust=1 - robust)]
    found = tuned(finished(*cells), Search(plan="p"), {"a": {"defenses": [{"name": "a"}]}}, 4 / 255)
    assert [c.name for c in found.candidates] == ["a", "c", "d", "b", "none"]
    assert [c.name for c in found.candidates if c.front] == ["a", "c", "d", "none"]
    assert [c.robust.value for c in found.candidates] == [0.5, 0.5, 0.4, 0.4, 0.0]
    assert (found.candidates[0].chosen, found.candidates[1].chosen) == ({"defenses": [{"name": "a"}]}, {})
    assert (found.budget, found.images, found.patients) == ("4/255", 9, 7)


def test_another_goal_is_chosen_by_where_no_attack_wants_any_wrong_answer(cell, clean):
    cells = [clean(), headline(cell, "none", 0.3, goal="missed-finding"), cell(column="corruption", goal="", robust=1)]
    assert tuned(finished(*cells), Search(plan="p"), {}, 4 / 255).candidates[0].robust.value == 0.3


def test_without_a_headline_there_is_nothing_to_choose_by(cell, clean):
    patch = cell(attack="patch", threat="patch", eps=0, robust=0.3)
    for cells in ((clean(), patch), (clean(), headline(cell, "none", 0.3, eps=1))):
        with pytest.raises(BadInput, match="no accuracy under attack at 4/255 to choose by"):
            tuned(finished(*cells), Search(plan="p"), {}, 4 / 255)


def test_the_front_holds_what_nothing_beats():
    points = {"none": (0.9, 0.0), "a": (0.8, 0.5), "b": (0.7, 0.4), "c": (0.8, 0.3), "d": (0.2, 0.6), "e": (0.8, 0.5)}
    assert pareto(points) == ["none", "a", "d", "e"]
