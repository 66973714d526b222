"""The whole line on a small scale: what a run leaves, and that it leaves the same after a kill."""

import json
import re
import signal
import time

import pandas as pd
import pytest

from radproof.assess.result import Result
from radproof.data.manifest import Manifest

pytestmark = pytest.mark.e2e


def load(run) -> dict:
    result = json.loads((run / "result.json").read_text())
    result.pop("timing")
    return result


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


def test_the_same_plan_gives_the_same_bytes_and_a_kill_changes_nothing(finished, tmp_path, plan, write_plan, command):
    path, run = write_plan(tmp_path, plan), tmp_path / "run"
    process = command("assess", path, "--out", run)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(run.glob("work/batches/*/*.npz"))) < 6:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = {p: p.stat().st_mtime_ns for p in run.glob("work/batches/*/*.npz")}
    assert len(kept) >= 6
    assert not (run / "result.json").exists()
    again = command("assess", path, "--out", run)
    _, err = again.communicate(timeout=200)
    assert again.returncode == 0, err
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    ours, theirs = load(run), load(finished)
    assert ours == theirs
    hashes = [pd.read_parquet(folder / "rows.parquet")["sha256"].tolist() for folder in (run, finished)]
    assert hashes[0] == hashes[1]


def test_ctrl_c_ends_with_130_and_keeps_what_is_finished(tmp_path, plan, write_plan, command):
    path, run = write_plan(tmp_path, plan), tmp_path / "run"
    process = command("assess", path, "--out", run)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(run.glob("work/batches/*/*.npz")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in err
    assert not (run / "result.json").exists()
    assert list(run.glob("work/batches/*/*.npz"))


def test_a_finished_run_can_be_replayed_and_gives_the_same_figures(finished, tmp_path, plan, write_plan, command):
    path = write_plan(tmp_path, {**plan, "model": {"path": str(finished / "model")}, "smallest": None})
    process = command("assess", path, "--out", tmp_path / "run", "--replay", finished / "images")
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    before, after = load(finished), load(tmp_path / "run")
    figures = {cell["key"]: cell["success"] for cell in before["cells"]}
    assert {cell["key"]: cell["success"] for cell in after["cells"]} == figures


def test_the_adversarial_set_can_be_audited(finished, radproof):
    code, out, _ = radproof("data", "audit", finished / "images", "--json", "--quiet")
    assert code in (0, 1)
    assert "failed" in json.loads(out)


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
        "--images", 6, "--detectors", "frequency", "--defenses", "jpeg_tvm", "--out", tmp_path / "run", "-q",
    )  # fmt: skip
    assert code == 0, err
    assert "fgsm" in out
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_summary_names_every_attack_and_ends_with_the_report(finished):
    out = (finished.parent / "stdout.txt").read_text()
    for word in ("fgsm", "pgd", "sia", "jpeg_tvm", "adaptive"):
        assert word in out
    assert re.search(r"Report: .*report\.html", out)
