# SPDX-License-Identifier: Apache-2.0
"""Stored images are scored again: on the same model with the same figures, on another as a transfer."""

import json
import shutil

import pandas as pd
import pytest
from PIL import Image

pytestmark = pytest.mark.e2e


def load(run) -> dict:
    result = json.loads((run / "result.json").read_text())
    result.pop("timing")
    return result


def replayed(finished, tmp_path, plan, write_plan, radproof, model):
    changes = {"model": {"path": str(model)}, "smallest": None, "detectors": [], "gallery": 0}
    path = write_plan(tmp_path, {**plan, **changes})
    code, _, err = radproof("assess", path, "--out", tmp_path / "run", "--replay", finished / "images", "-q")
    assert code == 0, err
    assert not (tmp_path / "run" / "images").exists() or not list((tmp_path / "run" / "images").rglob("*.png"))
    return load(tmp_path / "run")


def test_a_replay_scores_the_stored_images_and_gives_the_same_figures(finished, tmp_path, plan, write_plan, radproof):
    after = replayed(finished, tmp_path, plan, write_plan, radproof, finished / "model")
    figures = {cell["key"]: cell["success"] for cell in load(finished)["cells"]}
    assert {cell["key"]: cell["success"] for cell in after["cells"]} == figures
    assert all(cell["backwards"] == 0 for cell in after["cells"])
    rows = pd.read_parquet(tmp_path / "run" / "rows.parquet")
    assert rows["file"][rows["column"] == "oblivious"].str.startswith(str(finished / "images")).all()


def test_on_another_model_a_replay_is_a_transfer(finished, other_model, tmp_path, plan, write_plan, radproof):
    after = replayed(finished, tmp_path, plan, write_plan, radproof, other_model)
    columns = {cell["column"] for cell in after["cells"] if cell["attack"] == "fgsm"}
    assert columns == {"transfer"}
    assert "not-tested-adaptively" in {doubt["kind"] for doubt in after["doubts"]}


def test_a_changed_set_is_not_replayed(finished, tmp_path, plan, write_plan, radproof):
    images = tmp_path / "images"
    shutil.copytree(finished / "images", images)
    victim = next(images.rglob("*.png"))
    Image.new("L", (32, 32)).save(victim)
    path = write_plan(tmp_path, {**plan, "model": {"path": str(finished / "model")}, "smallest": None})
    code, _, err = radproof("assess", path, "--out", tmp_path / "run", "--replay", images, "-q")
    assert code == 2
    assert "was changed" in err
