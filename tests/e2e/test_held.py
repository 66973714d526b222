# SPDX-License-Identifier: Apache-2.0
"""A run on images with 3001 grey levels whose black and white pixels may not be changed, as windowed DICOM has them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from radproof import app
from radproof.assess.result import Result
from radproof.core.depth import Depth
from radproof.data.images import StoredImage
from radproof.data.load import load_images, store
from radproof.data.manifest import NAME, Manifest
from radproof.models.card import load_model

pytestmark = pytest.mark.e2e
TOP = 3000
BUDGETS = {"1/255": 11, "8/255": 94}  # floor(3000 / 255), floor(8 * 3000 / 255)


@pytest.fixture(scope="module")
def windowed(dataset, tmp_path_factory):
    """The small set on the levels of a window; the last rows lie below and above it."""
    manifest = app.open_path(dataset, patients=str(dataset / "patients.csv"))
    root, samples = tmp_path_factory.mktemp("windowed"), []
    for n, sample in enumerate(manifest.samples):
        grey = np.asarray(Image.open(manifest.root / sample.path)).astype(np.float64)
        fine = np.random.default_rng(n).uniform(-0.5, 0.5, grey.shape)
        pixels = np.rint((grey + fine) / 255 * TOP).clip(1, TOP - 1).astype(np.uint16)
        pixels[-2], pixels[-1] = 0, TOP
        samples.append(store(sample, StoredImage(pixels[:, :, None], Depth(TOP, held=True)), root))
    made = Manifest(root, manifest.labels, tuple(samples), manifest.head, manifest.source)
    made.write(root / NAME)
    return made


@pytest.fixture(scope="module")
def run(finished, windowed, plan, write_plan, done, tmp_path_factory):
    folder = tmp_path_factory.mktemp("held")
    changes = {
        "data": {"kind": "manifest", "path": str(windowed.root), "images": 12},
        "model": {"path": str(finished / "model")},
        "attacks": ["fgsm", {"name": "pgd", "steps": 3}, {"name": "pgd_l2", "steps": 2}],
        "defenses": ["median"],
        "adaptive": [{"name": "pgd", "steps": 2}],
        "gallery": 1,
    }
    done("assess", write_plan(folder, {**plan, **changes}), "--out", folder / "run", "-q")
    return folder / "run"


def grey(path):
    return np.asarray(Image.open(path)).astype(int)


def test_stored_images_keep_held_pixels_and_whole_levels_of_the_budget(run, windowed):
    originals = {s.id: grey(windowed.root / s.path) for s in windowed.samples}
    rows = pd.read_parquet(run / "rows.parquet")
    made = rows[rows["file"] != ""].drop_duplicates("file")
    most = dict.fromkeys(BUDGETS, 0)
    for row in made.itertuples():
        change = grey(run / row.file) - originals[row.sample]
        assert not change[-2:].any()  # corruptions too
        if row.attack in ("fgsm", "pgd"):
            most[row.budget] = max(most[row.budget], np.abs(change).max())
    assert most == BUDGETS
    assert set(made["attack"]) >= {"fgsm", "pgd", "pgd_l2", "block_transform"}


def test_success_is_judged_on_what_the_files_hold(run, finished):
    model = load_model(finished / "model")[0]
    rows = pd.read_parquet(run / "rows.parquet")
    rows = rows[(rows["attack"] == "pgd") & (rows["defense"] == "none") & (rows["column"] == "oblivious")]
    x = torch.from_numpy(np.stack([grey(run / file) for file in rows["file"]]).astype(np.float32) / TOP)[:, None]
    with torch.no_grad():
        logits = model(x)
    np.testing.assert_allclose(np.stack(list(rows["logits"])), logits.numpy(), atol=1e-4)
    wrong = np.array([list(model.labels).index(truth) for truth in rows["truth"]]) != logits.argmax(1).numpy()
    assert (rows["reached"] == wrong).all()
    assert wrong.any() and not wrong.all()


def test_the_images_it_leaves_are_a_set_on_the_same_grid(run, tmp_path):
    left = Manifest.read(run / "images")
    assert {(s.top, s.held) for s in left.samples} == {(TOP, True)}
    assert all(s.chain[-1] == {"step": "quantise", "top": TOP, "held": True} for s in left.samples)
    depths = load_images(left.samples, left.root).depths
    assert set(depths) == {Depth(TOP, held=True)}
    few = left.only(left.samples[:2])
    few.write(tmp_path / NAME)
    cleaned = app.defend(tmp_path / NAME, ["median"], tmp_path / "cleaned")
    for before, after in zip(few.samples, cleaned.samples, strict=True):
        old, new = grey(few.root / before.path), grey(cleaned.root / after.path)
        assert (old != new).any() and (old[-2:] == new[-2:]).all()


def test_the_result_tells_the_grid_and_its_pictures_are_not_black(run):
    result = Result.model_validate_json((run / "result.json").read_text())
    assert result.resolution == "32×32, 3001 grey levels"
    levels = np.array([b for b in result.smallest.stored_budgets if b is not None]) * TOP
    assert np.abs(levels - levels.round()).max() < 1e-4
    picture = np.asarray(Image.open(run / Path(result.gallery[0].files["original"])))
    assert 80 < picture.mean() < 160


def test_a_budget_below_one_level_is_refused(windowed, finished, plan, tmp_path, write_plan, radproof):
    changes = {"data": {"kind": "manifest", "path": str(windowed.root)}, "model": {"path": str(finished / "model")}}
    path = write_plan(tmp_path, {**plan, **changes, "budgets": ["0.05/255"]})
    code, _, err = radproof("assess", path, "--out", tmp_path / "run", "-q")
    assert code == 2
    assert "below one of this image's 3001 grey levels" in " ".join(err.split())
