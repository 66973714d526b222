"""The adaptive attacker brings JPEG+TVM down to where the undefended network is."""

import pytest

from radproof.assess.contenders import Contender, in_front


@pytest.fixture(scope="module")
def under_attack(learnt, crash):
    """Right before and after, by contender and column: phantoms of 64 pixels with faint patches, at 8/255."""
    material = learnt(
        size=64,
        contrast=30,
        model={"train": {"architecture": "cxrnet", "input_size": 32, "head_epochs": 0, "epochs": 0, "hidden": 0}},
        budgets=["8/255"],
        defenses=[{"name": "jpeg_tvm", "lam": 0.1}],
        attacks=[{"name": "pgd", "steps": 10}],
        adaptive=[{"name": "pgd", "steps": 10}, {"name": "square", "queries": 25}],
    )
    front = in_front({"jpeg_tvm": material.parts.defenses["jpeg_tvm"]})
    contender = Contender(material.model, material.fingerprint, "cxrnet", *front)
    return crash(material, {"jpeg_tvm": contender}, probes=False).cells


def right(cells, column, defense):
    (cell,) = (c for c in cells if (c.column, c.defense) == (column, defense) and c.attack in ("none", "worst"))
    return cell.robust_accuracy.value


def test_every_way_is_tried(under_attack):
    made_on = {c.made_on for c in under_attack if c.column == "adaptive" and c.attack != "worst"}
    assert made_on == {"jpeg_tvm (identity)", "jpeg_tvm (twin)", "jpeg_tvm"}


def test_jpeg_and_tvm_leave_within_five_points_of_no_defence(under_attack):
    clean, bare, adaptive, worst = (
        right(under_attack, *which)
        for which in (("clean", "jpeg_tvm"), ("headline", "none"), ("adaptive", "jpeg_tvm"), ("headline", "jpeg_tvm"))
    )
    assert clean > 0.8  # there is something to lose
    assert bare < 0.25
    assert worst <= adaptive <= bare + 0.05  # also without the images that were made on the bare model
