"""The whole line on a small scale: what a run leaves, and that it leaves the same after a kill."""

import json
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radproof import app
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


def wait_for(run, count):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(run.glob("work/batches/*/*.npz"))) < count:
        time.sleep(0.02)
    return len(list(run.glob("work/batches/*/*.npz")))


def test_ctrl_c_and_a_kill_lose_at_most_a_batch_and_change_no_byte(finished, tmp_path, plan, write_plan, command):
    path, run = write_plan(tmp_path, plan), tmp_path / "run"
    process = command("assess", path, "--out", run, short=True)
    wait_for(run, 2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in err
    assert not (run / "result.json").exists()
    done = wait_for(run, 2)
    process = command("assess", path, "--out", run, short=True)
    assert wait_for(run, done + 6) >= done + 6
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (run / "result.json").exists()
    kept = {p: p.stat().st_mtime_ns for p in run.glob("work/batches/*/*.npz")}
    damaged = sorted(kept)[0]
    damaged.write_bytes(damaged.read_bytes()[:50])  # as a failing disk would leave it
    again = command("assess", path, "--out", run, short=True)
    _, err = again.communicate(timeout=200)
    assert again.returncode == 0, err
    assert {p: p.stat().st_mtime_ns for p in kept if p != damaged} == {p: t for p, t in kept.items() if p != damaged}
    assert load(run) == load(finished)
    hashes = [pd.read_parquet(folder / "rows.parquet")["sha256"].tolist() for folder in (run, finished)]
    assert hashes[0] == hashes[1]


def test_a_finished_run_is_not_done_again(finished, plan, write_plan, tmp_path, radproof):
    before = load(finished)
    code, _, err = radproof("assess", write_plan(tmp_path, plan), "--out", finished, "-q")
    assert code == 0, err
    assert load(finished) == before


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
        "--images", 6, "--detectors", "frequency", "--defenses", "jpeg_tvm", "--out", tmp_path / "run", "-q",
    )  # fmt: skip
    assert code == 0, err
    assert "fgsm" in out
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_summary_names_every_attack_and_ends_with_the_report(finished):
    out = (finished.parent / "printed.txt").read_text()
    for word in ("fgsm", "pgd", "sia", "jpeg_tvm", "adaptive"):
        assert word in out
    assert re.search(r"Report: .*report\.html", out)
