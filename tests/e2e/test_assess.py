# SPDX-License-Identifier: Apache-2.0
"""The whole line on a small scale: what a run leaves, each stage alone, and options instead of a plan."""

import json
import re

import pandas as pd
import pytest

from radproof.assess.result import Result
from radproof.data.manifest import Manifest

pytestmark = pytest.mark.e2e


def test_a_run_leaves_result_rows_images_and_report(finished):
    result = Result.model_validate_json((finished / "result.json").read_text())
    assert result.images == 12
    assert not result.phantom
    assert {"report.html", "rows.parquet", "images", "model", "gallery"} <= {p.name for p in finished.iterdir()}
    columns = {(cell.attack, cell.column, cell.defense) for cell in result.cells}
    assert {("sia", "oblivious", "none"), ("sia", "oblivious", "jpeg_tvm"), ("pgd", "adaptive", "jpeg_tvm")} <= columns
    assert {("worst", "headline", "jpeg_tvm"), ("block_transform", "corruption", "none")} <= columns
    assert not any(path.suffix == ".tmp" for path in finished.rglob("*"))


def test_every_cell_can_be_recomputed_from_the_rows(finished):
    rows = pd.read_parquet(finished / "rows.parquet")
    for cell in Result.model_validate_json((finished / "result.json").read_text()).cells:
        if cell.attack == "worst":
            continue
        own = rows[
            (rows["column"] == cell.column)
            & (rows["attack"] == cell.attack)
            & (rows["goal"] == cell.goal)
            & (rows["budget"] == cell.budget)
            & (rows["defense"] == cell.defense)
            & ((rows["made_on"] == cell.made_on) | (cell.column == "clean"))
        ]
        assert len(own) == 12, cell.key
        assert own["right"].mean() == pytest.approx(cell.scores.accuracy.value)
        if cell.success is not None and cell.success.value is not None:
            assert own["reached"][own["clean_right"]].mean() == pytest.approx(cell.success.value)


def test_the_headline_is_the_worst_per_image(finished):
    rows = pd.read_parquet(finished / "rows.parquet")
    for cell in Result.model_validate_json((finished / "result.json").read_text()).cells:
        if cell.column == "headline":
            own = rows[
                (rows["defense"] == cell.defense) & (rows["budget"] == cell.budget) & (rows["goal"] == cell.goal)
            ]
            held = own.groupby("sample")["right"].all() & own.groupby("sample")["clean_right"].all()
            assert held.mean() == pytest.approx(cell.robust_accuracy.value)


def test_stored_images_keep_their_budget(finished):
    manifest = Manifest.read(finished / "images")
    rows = pd.read_parquet(finished / "rows.parquet")
    attacked = rows[rows["eps"] > 0]
    assert len(attacked)
    assert (attacked["linf"] <= attacked["eps"] + 1e-6).all()
    assert len({sample.id for sample in manifest.samples}) == len(manifest)
    assert {sample.chain[-1]["step"] for sample in manifest.samples} == {"quantise"}


def test_a_finished_run_is_not_done_again(finished, plan, write_plan, tmp_path, radproof):
    before = load(finished)
    code, _, err = radproof("assess", write_plan(tmp_path, plan), "--out", finished, "-q")
    assert code == 0, err
    assert load(finished) == before


def test_the_adversarial_set_can_be_audited(finished, radproof):
    code, out, err = radproof("data", "audit", finished / "images", "--json", "--quiet")
    assert code == 0, err
    told = json.loads(out)
    assert told["folds"] == {"test": len(Manifest.read(finished / "images"))}
    assert told["changed"] == []


def test_each_stage_stands_alone(finished, dataset, tmp_path, radproof):
    data, model = tmp_path / "data", finished / "model"
    assert radproof("data", "import", dataset, "--patients", dataset / "patients.csv", "--out", data)[0] == 0
    arguments = ("--model", model, "--data", data, "--attacks", "fgsm", "--eps", "8/255", "--images", 6)
    code, out, err = radproof("attack", *arguments, "--out", tmp_path / "attack", "--json", "-q")
    assert code == 0, err
    assert json.loads(out)["images"] == 6
    code, _, err = radproof("defend", "--data", tmp_path / "attack" / "images", "--out", tmp_path / "defend", "-q")
    assert code == 0, err
    steps = [step["step"] for step in Manifest.read(tmp_path / "defend").samples[0].chain]
    assert steps[-4:] == ["attack", "quantise", "defense", "quantise"]
    judge = (
        "--model",
        model,
        "--data",
        data,
        "--images",
        tmp_path / "defend",
        "--detectors",
        "frequency",
        "--rate",
        0.1,
    )
    code, out, err = radproof("detect", *judge, "--out", tmp_path / "detect", "--json", "-q")
    assert code == 0, err
    assert len(json.loads(out)) == 6
    assert Manifest.read(tmp_path / "detect").samples[0].chain[-1]["step"] == "detect"


def test_without_a_plan_options_do(finished, dataset, tmp_path, radproof):
    code, out, err = radproof(
        "assess", "--model", finished / "model", "--data", dataset, "--attacks", "fgsm", "--eps", "8/255",
        "--images", 4, "--detectors", "frequency", "--defenses", "median", "--out", tmp_path / "run", "-q",
    )  # fmt: skip
    assert code == 0, err
    assert "fgsm" in out and "median" in out
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_summary_names_every_attack_and_ends_with_the_report(finished):
    out = (finished.parent / "printed.txt").read_text()
    for word in ("fgsm", "pgd", "sia", "jpeg_tvm", "adaptive"):
        assert word in out
    assert re.search(r"Report: .*report\.html", out)


def load(run) -> dict:
    result = json.loads((run / "result.json").read_text())
    result.pop("timing")
    return result
