"""Plans are strict, name what is wrong, and hash alike when they are alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radproof.assess.plan import Plan, make_plan, read_plan
from radproof.errors import BadPlan

LEAST = {"data": {"kind": "phantom"}, "model": {"path": "m"}, "attacks": ["pgd"], "budgets": ["1/255"]}


def plan(tmp_path, **changes):
    return make_plan({**LEAST, **changes}, base=tmp_path)


def test_budgets_are_fractions_and_sorted(tmp_path):
    assert plan(tmp_path, budgets=["4/255", "1/255", 4 / 255]).budgets == (1 / 255, 4 / 255)


def test_paths_are_relative_to_the_plan(tmp_path):
    made = plan(tmp_path, data={"kind": "nih", "path": "../nih"}, model={"train": {"weights": "w.safetensors"}})
    assert made.data.path == str(tmp_path.parent / "nih")
    assert made.model.train.weights == str(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"atacks": ["pgd"]}, "no key 'atacks'; did you mean 'attacks'"),
        ({"data": {"kind": "phantom", "sise": 64}}, "no key 'data.sise'; did you mean 'size'"),
        ({"data": {"kind": "niih"}}, "data.kind"),
        ({"budgets": ["2"]}, "less than or equal to 1"),
        ({"budgets": [0]}, "greater than 0"),
        ({"budgets": ["-1/255"]}, "expected a number in"),
        ({"budgets": []}, "at least 1"),
        ({"attacks": []}, "at least 1"),
        ({"model": {}}, "one of path"),
        ({"model": {"path": "m", "train": {}}}, "one of path"),
        ({"model": {"train": {"lr": -1}}}, "model.train.lr"),
        ({"model": {"train": {"learning_rate": 1}}}, "no key 'model.train.learning_rate'"),
        ({"name": "../evil"}, "name"),
        ({"false_positive_rate": 0}, "false_positive_rate"),
    ],
)
def test_bad_plans_are_refused_by_key(tmp_path, changes, message):
    with pytest.raises(BadPlan, match=message):
        plan(tmp_path, **changes)


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "\x00"])
def test_files_that_are_no_plan(tmp_path, text):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(BadPlan):
        read_plan(path)


def test_a_missing_plan_is_named(tmp_path):
    with pytest.raises(BadPlan, match=r"nothing\.yaml"):
        read_plan(tmp_path / "nothing.yaml")


@given(
    st.lists(st.floats(1e-6, 1), min_size=1, max_size=3),
    st.integers(0, 2**31),
    st.sampled_from(["quick", "published", "exhaustive"]),
)
def test_a_plan_reads_back_as_itself(tmp_path_factory, budgets, seed, preset):
    made = plan(tmp_path_factory.getbasetemp(), budgets=budgets, seed=seed, preset=preset)
    assert Plan.model_validate_json(made.model_dump_json()) == made
    assert Plan.model_validate_json(made.model_dump_json()).digest == made.digest


def test_parts_can_be_written_three_ways(tmp_path):
    made = plan(tmp_path, attacks=["sia", {"name": "pgd", "steps": 4}, {"name": "mi", "params": {"decay": 0.5}}])
    assert [(part.name, part.params) for part in made.attacks] == [
        ("sia", {}),
        ("pgd", {"steps": 4}),
        ("mi", {"decay": 0.5}),
    ]


def test_a_parameter_that_only_shares_a_files_name_is_left_alone(tmp_path):
    raw = {
        "data": {"kind": "phantom"},
        "model": {"path": "m"},
        "attacks": [{"name": "usmm", "mask": 0.5}, {"name": "patch", "mask": "where.png"}],
        "budgets": ["1/255"],
    }
    usmm, patch = make_plan(raw, base=tmp_path).attacks
    assert usmm.params["mask"] == 0.5
    assert patch.params["mask"] == str(tmp_path / "where.png")
