"""A detector is taught on clean images, then files are screened one by one: what is answered, what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from radproof import app
from radproof.data.manifest import Manifest
from radproof.data.phantoms_on_disk import materialise_phantoms
from radproof.data.splits import split
from radproof.training.recipe import TrainingRecipe

pytestmark = pytest.mark.e2e
RECIPE = {
    "architecture": "cxrnet",
    "input_size": 32,
    "hidden": 0,
    "dropout": 0.0,
    "head_epochs": 0,
    "epochs": 1,
    "batch": 32,
    "unfreeze": "all",
    "precision": "fp32",
}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> Path:
    """150 drawn X-rays of 64 × 64 pixels, split by patient."""
    folder = tmp_path_factory.mktemp("phantoms")
    split(materialise_phantoms(folder, count=150, size=64, seed=5), by="patient", seed=5).write(
        folder / "manifest.parquet"
    )
    return folder


@pytest.fixture(scope="module")
def model(phantoms, tmp_path_factory) -> Path:
    """A small classifier of them."""
    folder = tmp_path_factory.mktemp("model") / "model"
    app.train(Manifest.read(phantoms), TrainingRecipe.model_validate(RECIPE), folder)
    return folder


@pytest.fixture(scope="module")
def guard(model, phantoms, tmp_path_factory) -> Path:
    """What `radproof guard` writes."""
    path = tmp_path_factory.mktemp("guard") / "guard.safetensors"
    app.guard(model, phantoms, path, name="frequency", rate=0.2)
    return path


@pytest.fixture(scope="module")
def clean(phantoms) -> Path:
    """An image that neither training nor calibration has seen."""
    test = Manifest.read(phantoms).fold("test")
    return test.root / test.samples[0].path


def altered(clean: Path, path: Path) -> Path:
    """The image with every pixel moved by 16 grey levels, one up, the next down: nothing an honest device does."""
    pixels = np.asarray(Image.open(clean)).astype(int)
    checks = 16 * (-1) ** np.indices(pixels.shape).sum(0)
    Image.fromarray((pixels + checks).clip(0, 255).astype(np.uint8)).save(path)
    return path


def screened(out: str) -> dict[str, dict]:
    """By file name, what JSON lines say."""
    found = [json.loads(line) for line in out.splitlines()]
    return {Path(one["name"]).name: one for one in found}


def test_a_detector_is_taught_and_says_what_it_promises(radproof, model, phantoms, tmp_path):
    path = tmp_path / "guard.safetensors"
    asked = ("guard", "--model", model, "--data", phantoms, "--detector", "frequency", "--out", path, "--json")
    code, out, err = radproof(*asked, "--rate", 0.2)
    assert code == 0, err
    told = json.loads(out)
    patients = {sample.patient for sample in Manifest.read(phantoms).fold("validation").samples}
    threshold = told["suspicion"]["thresholds"]["groups"][""]
    assert told["about"]["images"] == told["about"]["patients"] == threshold["n"] == len(patients)
    assert threshold["promised"] == told["outside"]["thresholds"]["promised"] == 0.1  # half each
    assert threshold["low"] <= 0.1 <= threshold["high"]
    assert told["about"]["data"] == "training"
    assert told["suspicion"]["thresholds"]["covers"][:2] == ["clean", "jpeg-90"]
    with safe_open(path, framework="pt") as stored:
        assert json.loads(stored.metadata()["radproof.guard"]) == told
    again, out, _ = radproof(*asked[:-1], "--rate", 0.001, "--quiet")
    assert again == 0
    assert "nothing is promised" in out
    assert (
        f"{len(patients)} clean images cannot promise a false-positive rate of 0.05 %: at least 1999 are needed" in out
    )
    assert "2 detectors share the 0.1 %" in out
    assert "At most 0.1 % of clean images are to get an alarm: 0.05 % as suspicious, 0.05 % as outside" in out
    assert "The data are those that the model was trained on, in the same folds" in out


def test_clean_images_pass_and_altered_ones_do_not(radproof, model, guard, clean, tmp_path):
    bad = altered(clean, tmp_path / "altered.png")
    code, out, err = radproof("screen", clean, bad, "--model", model, "--detector", guard, "--json", "--quiet")
    assert code == 0, err
    found = screened(out)
    honest, other = found[clean.name]["screening"], found["altered.png"]["screening"]
    assert honest["verdict"] == "clear"
    assert honest["reasons"] == []
    assert other["suspicion"]["score"] > other["suspicion"]["threshold"]["value"] > honest["suspicion"]["score"]
    assert other["verdict"] != "clear"
    assert any("spreads from the usual" in reason for reason in other["reasons"])
    assert sum(honest["probabilities"].values()) == pytest.approx(1)
    assert honest["confidence"] == max(honest["probabilities"].values())


def test_a_folder_is_screened_file_by_file_and_alone_each_says_the_same(radproof, model, guard, clean, tmp_path):
    inner = tmp_path / "in" / "deep"
    inner.mkdir(parents=True)
    shutil.copy(clean, inner / "b.png")
    shutil.copy(clean, tmp_path / "in" / "a.png")
    altered(clean, inner / "c.png")
    (inner / "notes.txt").write_text("no image")
    (tmp_path / "in" / ".hidden.png").write_text("")
    options = ("--model", model, "--detector", guard, "--json", "--quiet")
    _, out, _ = radproof("screen", tmp_path / "in", inner / "b.png", *options)
    together = screened(out)
    assert list(together) == ["a.png", "b.png", "c.png"]
    _, out, _ = radproof("screen", inner / "c.png", *options)
    alone = screened(out)["c.png"]["screening"]
    assert alone["verdict"] == together["c.png"]["screening"]["verdict"]
    assert alone["suspicion"]["score"] == pytest.approx(together["c.png"]["screening"]["suspicion"]["score"], rel=1e-4)
    assert together["a.png"]["image"] == together["b.png"]["image"] != together["c.png"]["image"]


def test_what_cannot_be_judged_is_refused_and_the_rest_is_answered(radproof, model, guard, clean, tmp_path):
    grey = np.asarray(Image.open(clean))
    Image.new("L", (1, 1)).save(tmp_path / "tiny.png")
    Image.fromarray(np.stack([grey, grey, 255 - grey], 2)).save(tmp_path / "colour.png")
    Image.fromarray(np.stack([grey] * 3, 2)).save(tmp_path / "same.png")  # grey, saved as colour
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "cut.png").write_bytes(clean.read_bytes()[:300])
    options = ("--model", model, "--detector", guard, "--quiet")
    code, out, err = radproof("screen", tmp_path, tmp_path / "gone.png", *options, "--json")
    found = screened(out)
    assert code == 2
    assert "6 of 7 files could not be screened; the other 1 were" in err
    assert found["same.png"]["screening"]["verdict"] == "clear"
    assert {name: one["screening"] for name, one in found.items() if name != "same.png"} == dict.fromkeys(
        ("colour.png", "cut.png", "deep.png", "tiny.png", "text.png", "gone.png")
    )
    for name, said in (
        ("tiny.png", "for grey images of 64 × 64 pixels in 8 bits, not for grey images of 1 × 1 pixels"),
        ("colour.png", "not for colour images of 64 × 64 pixels"),
        ("deep.png", "not for grey images of 64 × 64 pixels in 16 bits"),
        ("text.png", "none of PNG, JPEG, TIFF"),
        ("cut.png", "truncated or damaged"),
        ("gone.png", "no such file"),
    ):
        assert said in found[name]["refusal"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--detector", "gone.safetensors"), "no guard file gone.safetensors"),
        (("--model", "gone"), "there is no model at gone"),
        (("--device", "abacus"), "device must be one of"),
    ],
)
def test_nothing_is_answered_without_model_or_detector(radproof, model, guard, clean, options, said):
    code, out, err = radproof("screen", clean, "--model", model, "--detector", guard, *options, "--quiet")
    assert (code, out) == (2, "")
    assert said in err


def test_a_detector_of_another_model_is_refused(radproof, guard, clean, model, phantoms, tmp_path):
    other = tmp_path / "other"
    app.train(Manifest.read(phantoms), TrainingRecipe.model_validate({**RECIPE, "seed": 3}), other)
    code, out, err = radproof("screen", clean, "--model", other, "--detector", guard, "--quiet")
    assert (code, out) == (2, "")
    assert "guards model" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--detector", "frequenzy"), "no detector named 'frequenzy'; did you mean 'frequency'?"),
        (("--rate", "1.5"), "must lie between 0 and 1, got 1.5"),
        (("--by", "weather"), "by class or by view, got 'weather'"),
    ],
)
def test_bad_lessons_are_refused_before_anything_is_learnt(radproof, model, phantoms, tmp_path, options, said):
    path = tmp_path / "guard.safetensors"
    asked = ("guard", "--model", model, "--data", phantoms, "--detector", "frequency", "--out", path)
    code, _, err = radproof(*asked, *options, "--quiet")
    assert code == 2
    assert said in err
    assert not path.exists()


def test_thresholds_are_not_set_on_patients_that_the_model_has_learnt_from(radproof, model, phantoms, tmp_path):
    path, whole = tmp_path / "guard.safetensors", Manifest.read(phantoms)
    other = split(whole, by="patient", seed=6)
    assert {s.fold for s in other.samples if s.id in {t.id for t in whole.fold("train").samples}} > {"train"}
    other.write(tmp_path / "other" / "manifest.parquet")
    asked = (
        "guard",
        "--model",
        model,
        "--data",
        tmp_path / "other",
        "--detector",
        "frequency",
        "--out",
        path,
        "--json",
    )
    code, _, err = radproof(*asked, "--quiet", "--rate", 0.2)
    assert code == 2
    for said in ("split otherwise", "patients that it has learnt from", "--split", "--seed", "--other-data"):
        assert said in " ".join(err.split())
    assert not path.exists()
    code, out, err = radproof(*asked, "--quiet", "--rate", 0.2, "--other-data")
    assert code == 0, err
    assert json.loads(out)["about"]["data"] == "other"


def test_a_page_per_image_names_it_by_its_hash(radproof, model, guard, clean, tmp_path):
    named = tmp_path / "Jane Doe\x1b[31m.png"
    shutil.copy(clean, named)
    pages = tmp_path / "pages"
    options = ("--model", model, "--detector", guard, "--out", pages, "--quiet")
    code, out, err = radproof("screen", named, *options)
    assert code == 0, err
    assert out.count("\n") == 1
    assert "Jane Doe�[31m.png" in out  # what would recolour a terminal does not reach it
    (page,) = pages.iterdir()
    text = page.read_text(encoding="utf-8")
    assert "Jane" not in text
    assert "PHANTOM DATA" in text
    assert page.stem in text
    code, _, err = radproof("screen", named, *options)
    assert code == 2
    assert "exists and is not empty" in err
