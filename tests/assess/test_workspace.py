"""A run's folder keeps finished batches, belongs to one plan, and is never half made."""

import numpy as np
import pytest

from radproof.assess.plan import make_plan
from radproof.assess.workspace import open_workspace
from radproof.errors import BadInput, BadPlan

LEAST = {"data": {"kind": "phantom"}, "model": {"path": "m"}, "attacks": ["pgd"], "budgets": ["1/255"]}


@pytest.fixture
def plan(tmp_path):
    return make_plan(LEAST, base=tmp_path)


def test_batches_survive(tmp_path, plan):
    with open_workspace(tmp_path / "run", plan) as space:
        assert not space.has("pgd", 0)
        space.save("pgd", 0, {"x": np.arange(3), "names": np.array(["a"])})
    with open_workspace(tmp_path / "run", plan) as space:
        assert space.has("pgd", 0)
        assert space.load("pgd", 0)["x"].tolist() == [0, 1, 2]


def test_another_plan_is_refused_and_told_apart(tmp_path, plan):
    with open_workspace(tmp_path / "run", plan):
        pass
    other = plan.model_copy(update={"seed": 7})
    with pytest.raises(BadPlan, match="different: seed"), open_workspace(tmp_path / "run", other):
        pass
    with open_workspace(tmp_path / "run", other, overwrite=True):
        pass


def test_a_strangers_folder_is_left_alone(tmp_path, plan):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.docx").write_text("mine")
    with pytest.raises(BadInput, match="is no run"), open_workspace(tmp_path / "run", plan, overwrite=True):
        pass
    assert (tmp_path / "run" / "thesis.docx").read_text() == "mine"


def test_bad_input_leaves_no_folder(tmp_path, plan):
    with pytest.raises(BadInput, match="no such"), open_workspace(tmp_path / "run", plan):
        raise BadInput("no such data")
    assert not (tmp_path / "run").exists()


def test_bad_input_keeps_finished_batches(tmp_path, plan):
    with pytest.raises(BadInput), open_workspace(tmp_path / "run", plan) as space:
        space.save("pgd", 0, {"x": np.arange(3)})
        raise BadInput("later")
    assert (tmp_path / "run" / "work" / "batches" / "pgd" / "0000.npz").is_file()


def test_one_process_at_a_time(tmp_path, plan):
    with (
        open_workspace(tmp_path / "run", plan),
        pytest.raises(BadInput, match="another process"),
        open_workspace(tmp_path / "run", plan),
    ):
        pass


def test_changed_inputs_are_noticed(tmp_path, plan):
    with open_workspace(tmp_path / "run", plan) as space:
        space.insist("inputs", {"model": "a", "data": "b"})
        with pytest.raises(BadInput, match="model changed"):
            space.insist("inputs", {"model": "z", "data": "b"})
