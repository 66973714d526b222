# SPDX-License-Identifier: Apache-2.0
"""Threats without a norm, and several findings per image."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radproof import app
from radproof.assess.result import Result

pytestmark = pytest.mark.e2e


def test_threats_without_a_norm_stand_apart(finished, tmp_path, plan, write_plan, radproof):
    """Only such threats: no headline, limits in words, the universal perturbation one for all batches."""
    changes = {
        "model": {"path": str(finished / "model")},
        "attacks": [
            {"name": "exposure", "steps": 2},
            {"name": "spatial", "tries": 3},
            {"name": "universal", "epochs": 1},
            {"name": "patch", "steps": 1},
        ],
        "adaptive": [{"name": "bias_field", "steps": 1}],
        "budgets": ["8/255"],
        "detectors": [],
        "corruptions": [],
        "smallest": None,
        "gallery": 2,
    }
    code, _, err = radproof("assess", write_plan(tmp_path, {**plan, **changes}), "--out", tmp_path / "run", "-q")
    assert code == 0, err
    result = Result.model_validate_json((tmp_path / "run" / "result.json").read_text())
    found = {cell.attack: cell for cell in result.cells if cell.column == "oblivious" and cell.defense == "none"}
    assert {name: (cell.budget, bool(cell.limits)) for name, cell in found.items()} == {
        "exposure": ("", True),
        "spatial": ("", True),
        "patch[border]": ("", True),
        "universal": ("8/255", False),
    }
    assert not any(cell.attack == "worst" for cell in result.cells)
    assert {cell.made_on for cell in result.cells if cell.attack == "bias_field"} == {
        "jpeg_tvm (identity)",
        "jpeg_tvm (twin)",
    }
    assert "No attack within a norm" in result.verdict
    originals = {s.id: s for s in app.open_path(Path(plan["data"]["path"])).samples}
    rows = pd.read_parquet(tmp_path / "run" / "rows.parquet")
    made = rows[(rows["attack"] == "universal") & (rows["defense"] == "none")]
    changes = [
        np.asarray(Image.open(tmp_path / "run" / file)).astype(int)
        - np.asarray(Image.open(Path(plan["data"]["path"]) / originals[sample].path)).astype(int)
        for sample, file in zip(made["sample"], made["file"], strict=True)
    ]
    assert len(changes) == 12  # in three batches
    assert 1 <= np.abs(changes[0]).max() <= 8
    assert all((change == changes[0]).mean() > 0.99 for change in changes)  # but for black and white pixels


def test_findings_side_by_side(draw_release, tmp_path, plan, write_plan, radproof):
    """A multi-label run on a release of 14 findings, two of them chosen."""
    release = draw_release(tmp_path / "nih")
    recipe = {**plan["model"]["train"], "epochs": 1}
    changes = {
        "data": {
            "kind": "nih",
            "path": str(release),
            "classes": ["Effusion", "Mass"],
            "multi_label": True,
            "images": 8,
        },
        "model": {"train": recipe},
        "attacks": ["fgsm", "usmm"],
        "budgets": ["8/255"],
        "goals": ["misclassify", "missed-finding", "flip:Mass"],
        "adaptive": ["fgsm"],
        "smallest": None,
        "detectors": [],
        "defenses": ["median"],
    }
    code, _, err = radproof("assess", write_plan(tmp_path, {**plan, **changes}), "--out", tmp_path / "run", "-q")
    assert code == 0, err
    result = Result.model_validate_json((tmp_path / "run" / "result.json").read_text())
    assert result.head == "sigmoid"
    assert {cell.goal for cell in result.cells if cell.attack == "fgsm"} == {
        "misclassify",
        "missed-finding",
        "flip:Mass",
    }
    assert (tmp_path / "run" / "report.html").is_file()
