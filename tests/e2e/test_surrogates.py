# SPDX-License-Identifier: Apache-2.0
"""What the small run leaves out: images made on other networks, goals, norms, spending, images of 16 bits."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radproof.assess.result import Result

pytestmark = pytest.mark.e2e


def test_surrogates_goals_norms_and_depths(finished, other_model, draw_set, tmp_path, plan, write_plan, radproof):
    """One run of what the first one leaves out, on a set that also holds an image of 16 bits."""
    dataset = draw_set(tmp_path / "set")
    for path in (dataset / "Pneumonia").glob("*.png"):
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 257).save(path)
    changes = {
        "data": {"kind": "folder", "path": str(dataset), "patients": str(dataset / "patients.csv"), "images": 6},
        "model": {"path": str(finished / "model")},
        "surrogates": {
            "other": str(other_model),
            "same": {"path": str(finished / "model")},
            "both": {"of": ["other", "same"]},
        },
        "spending": {"gradients": [2, 4], "budget": "8/255", "images": 5, "made_on": ["model", "both"]},
        "attacks": ["fgsm", {"name": "mi", "steps": 3}, {"name": "pgd_l2", "steps": 2}],
        "adaptive": [{"name": "usmm", "steps": 1}],
        "budgets": ["8/255"],
        "goals": ["misclassify", "missed-finding", "false-alarm", "target:Pneumonia", "misclassify"],
        "detectors": [],
        "corruptions": [],
        "defenses": ["median"],
        "smallest": None,
        "gallery": 1,
    }
    code, _, err = radproof("assess", write_plan(tmp_path, {**plan, **changes}), "--out", tmp_path / "run", "-q")
    assert code == 0, err
    result = Result.model_validate_json((tmp_path / "run" / "result.json").read_text())
    cells = result.cells
    _check_transfer(result)
    _check_spending(result)
    assert {t.name for t in result.survival.treatments} > {"jpeg-75", "jpeg2000-10", "8-bit"}
    assert len({cell.key for cell in cells}) == len(cells)
    told = {(cell.column, cell.attack, cell.goal): cell for cell in cells if cell.defense == "none"}
    assert told["oblivious", "fgsm", "missed-finding"].success.n <= 4
    assert told["headline", "worst", "misclassify"].threat == "linf"
    assert told["oblivious", "pgd_l2", "misclassify"].linf.value > 8 / 255
    rows = pd.read_parquet(tmp_path / "run" / "rows.parquet")
    assert {step["bits"] for chain in rows["chain"] for step in json.loads(chain) if step["step"] == "quantise"} == {
        8,
        16,
    }


def _check_transfer(result: Result) -> None:
    found = {(c.source, c.target, c.attack): c.success for c in result.transfer.cells if c.goal == "misclassify"}
    assert {source for source, _, _ in found} == {"model", "other", "same", "both"}
    assert {target for _, target, _ in found} == {"model", "other", "same"}
    assert [network.name for network in result.transfer.networks if network.accuracy is None] == ["both"]
    assert {success.n for success in found.values()} == {result.transfer.images}
    # The surrogate called same is the model, so what fools one fools the other.
    assert found["other", "model", "fgsm"] == found["other", "same", "fgsm"]
    assert found["same", "model", "fgsm"] == found["model", "model", "fgsm"]
    made_on = {c.made_on for c in result.cells if c.column == "transfer"}
    assert made_on == {"other", "same", "both", ""}


def _check_spending(result: Result) -> None:
    points = {(p.attack, p.made_on, p.backwards): p for p in result.spending.points}
    # fgsm has one bill only; mi spends all it is given; l2 budgets are another threat
    assert set(points) == {
        (attack, on, bill) for on in ("model", "both") for attack, bill in (("fgsm", 1), ("mi", 2), ("mi", 4))
    }
    assert points["mi", "both", 4.0].params == {"steps": 4}
    assert result.spending.images in (5, 6)
