"""Networks in the model's place: loaded, trained under attack, averaged, behind random defences and a denoiser."""

import json

import pytest

from radproof.assess.finished import read_result

HARDENED = {
    "adversarial": {"start": "model", "train": {"adversarial": {"eps": "2/255", "steps": 1, "validation_images": 4}}},
    "noisy": {"like": "adversarial", "behind": ["bit_depth", {"name": "noise", "sigma": 0.02, "votes": 2}]},
    "denoised": {"like": "model", "denoiser": {"epochs": 1, "width": 4, "depth": 1, "images": 12, "steps": 1}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory, finished, plan, write_plan, other_model, done):
    root = tmp_path_factory.mktemp("hardened")
    recipe = {**plan["model"]["train"], "epochs": 1}
    trained = {**HARDENED["adversarial"], "train": {**recipe, **HARDENED["adversarial"]["train"]}}
    hardened = {"other": str(other_model), **HARDENED, "adversarial": trained, "both": {"of": ["model", "other"]}}
    changed = {
        **plan,
        "model": {"path": str(finished / "model")},
        "attacks": [{"name": "pgd", "steps": 2}],
        "budgets": ["8/255"],
        "hardened": hardened,
        "eot": 2,
        "detectors": [],
        "corruptions": [],
        "smallest": None,
        "survival": False,
        "gallery": 0,
    }
    path = write_plan(root, changed)
    done("assess", path, "--out", root / "run", "-q")
    return path, root / "run"


def test_every_contender_answers_everything_and_is_attacked_itself(run):
    result = read_result(run[1])
    names = ("jpeg_tvm", "other", "adversarial", "noisy", "denoised", "both")
    for name in names:
        own = [c for c in result.cells if c.defense == name]
        assert {"clean", "oblivious", "adaptive", "headline"} <= {c.column for c in own}
        made = {c.made_on for c in own if c.column == "adaptive" and c.attack == "pgd"}
        ways = {"jpeg_tvm": ("identity", "twin"), "noisy": ("twin",), "denoised": ("twin",)}.get(name)
        assert made == ({f"{name} ({way})" for way in ways} if ways else {name})
    assert sorted(g.defense for g in result.gains) == sorted(names)
    draws = {c.defense: c.backwards for c in result.cells if c.column == "adaptive" and c.attack == "pgd"}
    assert draws["noisy"] == 2 * draws["adversarial"]  # every draw is on the bill


def test_what_was_trained_lies_in_the_run(run):
    kept = run[1] / "hardened"
    assert (kept / "adversarial" / "card.yaml").is_file()
    assert (kept / "denoised" / "denoiser" / "denoiser.json").is_file()
    told = json.loads((kept / "adversarial" / "history.json").read_text())["epochs"]
    assert told[-1]["validation_robust_accuracy"] is not None


def test_lost_batches_of_random_contenders_come_back_with_the_same_bytes(run, radproof):
    path, folder = run
    before = read_result(folder).model_dump(mode="json", exclude={"timing"})
    (folder / "result.json").unlink()
    lost = sorted((folder / "work" / "batches").glob("*noisy*/*.npz"))
    assert lost
    for batch in lost:
        batch.unlink()
    code, _, err = radproof("assess", path, "--out", folder, "-q")
    assert code == 0, err
    assert read_result(folder).model_dump(mode="json", exclude={"timing"}) == before


def test_the_defences_of_a_run_are_compared_with_none(run, radproof):
    code, told, err = radproof("compare", run[1], "--json")
    assert code == 0, err
    assert "adversarial" in told
    assert "denoised" in told
