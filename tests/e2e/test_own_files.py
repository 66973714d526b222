# SPDX-License-Identifier: Apache-2.0
"""A model file and a folder of DICOM files as a hospital has them: assessed with nothing else said, and guarded."""

import io
import json
import re
import shutil
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
import yaml
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from torch import nn
from torch.nn import functional as F

from radproof import app
from radproof.cli import main
from radproof.data.manifest import Manifest
from radproof.data.splits import split
from radproof.errors import BadData

pytestmark = pytest.mark.e2e
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LOW, HIGH = 200, 3400  # what the window shows of twelve stored bits
CLASSES = ("Clear", "Opaque")


def drawn(count, seed, size=48):
    """Grey blocks with noise; every second image with a light spot."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    images = []
    for number in range(count):
        image = 0.35 + 0.1 * rng.standard_normal((size // 8, size // 8)).repeat(8, 0).repeat(8, 1)
        image += 0.03 * rng.standard_normal((size, size))
        if number % 2:
            row, column, width = (*rng.integers(12, size - 12, 2), rng.uniform(4, 7))
            image += 0.35 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))
        images.append(np.clip(image, 0, 1))
    return torch.tensor(np.stack(images)).float()[:, None], torch.arange(count) % 2


def trained(scale, mean, std):
    """A small CNN that takes three channels as said, nearly always right."""
    torch.manual_seed(0)
    blocks = [
        layer
        for i, o in ((3, 8), (8, 16), (16, 32))
        for layer in (nn.Conv2d(i, o, 3, stride=2, padding=1), nn.BatchNorm2d(o), nn.ReLU())
    ]
    net = nn.Sequential(*blocks, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 2))
    x, y = drawn(240, 1)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (mean, std))
    x = (scale * x - mean) / std
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(12):
        for rows in torch.randperm(len(x)).split(30):
            optimiser.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
    return net.eval()


def onnx_file(net, path, size=48):
    with warnings.catch_warnings():  # this exporter is old, quick, and what most files come from
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (torch.rand(2, 3, size, size),), path, dynamo=False, opset_version=17,
            input_names=["image"], dynamic_axes={"image": {0: "n"}},
        )  # fmt: skip
    return path


def dicom_file(path, image, patient, number):
    """A CR image of twelve stored bits, shown inverted, with everything that must never be handed on."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{number + 1}"
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = f"SECRET^{patient}", f"MRN{patient}", "19500101"
    ds.PatientAge, ds.PatientSex, ds.ViewPosition, ds.Modality = "070Y", "F", "PA", "CR"
    ds.Rows, ds.Columns = image.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME1"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth = (LOW + HIGH + 1) / 2, HIGH - LOW + 1
    ds.PixelData = (HIGH - np.round(image * (HIGH - LOW))).astype("<u2").tobytes()
    ds.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """100 DICOM files of 50 patients, and a table."""
    root = tmp_path_factory.mktemp("dicom")
    (root / "files").mkdir()
    x, y = drawn(100, 2)
    lines = ["file,label"]
    for number, (image, label) in enumerate(zip(x[:, 0].numpy(), y.tolist(), strict=True)):
        dicom_file(root / "files" / f"IM{number:03d}", image, number // 4 * 2 + number % 2, number)
        lines.append(f"IM{number:03d},{CLASSES[label]}")
    (root / "labels.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The conventional model, without a card."""
    return onnx_file(trained(1.0, *IMAGENET), tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def assessed(folder, model):
    """The conventional model and the folder, with no other option but what keeps the test short."""
    words = ["assess", "--model", model.name, "--data", folder / "files", "--labels", folder / "labels.csv"]
    words += ["--attacks", "pgd", "--eps", "8/255", "--images", "6"]
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(printed):
        patch.chdir(model.parent)
        patch.setattr(sys, "argv", ["radproof", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code, printed.getvalue()
    return model.parent / "runs/assessment", printed.getvalue()


def test_a_conventional_model_and_a_dicom_folder_need_no_other_option(assessed):
    result = json.loads((assessed[0] / "result.json").read_text())
    clean = next(cell for cell in result["cells"] if cell["column"] == "clean" and cell["defense"] == "none")
    attacked = next(cell for cell in result["cells"] if cell["attack"] == "pgd" and cell["defense"] == "none")
    assert clean["robust_accuracy"]["value"] >= 0.8
    assert attacked["success"]["value"] > 0.2
    assert result["labels"] == list(CLASSES)
    assert result["resolution"] == f"48×48, {HIGH - LOW + 1} grey levels"
    assert "own process" in result["provenance"]["guard"]


def test_the_report_says_how_the_file_was_guarded(assessed):
    page = (assessed[0] / "report.html").read_text()
    level = json.loads((assessed[0] / "result.json").read_text())["provenance"]["guard"]
    (told,) = re.findall(r"<dt>guarded</dt><dd>([^<]*)</dd>", page)
    assert told.split(", ")[:2] == level[:2]


def test_nothing_of_a_person_is_left_in_the_run(assessed):
    run, printed = assessed
    for file in run.rglob("*"):
        if file.is_file():
            content = re.sub(rb"base64,[A-Za-z0-9+/=]+", b"", file.read_bytes())  # pixels spell any three letters
            assert b"SECRET" not in content and b"MRN" not in content and b"1.2.826" not in content, file
    assert "SECRET" not in printed


def test_stored_images_hold_the_windows_levels_within_the_budget(assessed):
    made = Manifest.read(assessed[0] / "images")
    assert {sample.top for sample in made.samples} == {HIGH - LOW}


def test_a_wrong_guess_about_normalisation_stops_with_the_likely_card(folder, tmp_path, radproof, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx_file(trained(255.0, (0.0,) * 3, (1.0,) * 3), tmp_path / "model.onnx")
    words = ("assess", "--model", "model.onnx", "--data", folder / "files", "--labels", folder / "labels.csv", "-q")
    code, _, err = radproof(*words)
    assert code == 2
    assert err.count("radproof:") == 1
    assert "range: [0.0, 255.0]" in err
    assert not (tmp_path / "runs/assessment").exists()
    card = err.partition("on one line: ")[2].partition(" ; ")[0]
    (tmp_path / "model.card.yaml").write_text(card)
    monkeypatch.setenv("RADPROOF_GUARDED", "1")  # in this process, to be quick
    code, _, err = radproof(*words, "--attacks", "fgsm", "--eps", "4/255", "--images", "6", "--defenses", ",")
    assert code == 0, err


@pytest.fixture(scope="module")
def used(assessed, model, tmp_path_factory):
    """The same model with a card, a manifest of the folder, and a guard of them."""
    root = tmp_path_factory.mktemp("used")
    shutil.copy(model, root / "model.onnx")
    mean, std = IMAGENET
    card = {"architecture": "onnx", "labels": list(CLASSES), "input_size": 48, "hidden": 0}
    (root / "model.card.yaml").write_text(yaml.safe_dump({**card, "mean": list(mean), "std": list(std)}))
    (imported,) = assessed[0].glob("data/*/manifest.parquet")
    split(Manifest.read(imported), by="patient", seed=1).write(root / "manifest.parquet")
    app.guard(
        root / "model.onnx", root / "manifest.parquet", root / "guard.safetensors", name="frequency", rate=0.3,
        other_data=True,
    )  # fmt: skip
    return root


@pytest.mark.slow
def test_screening_dicom_files_with_a_strangers_model_says_what_it_says_unguarded(
    used, folder, tmp_path, monkeypatch, radproof
):
    (tmp_path / "in").mkdir()
    for name in ("IM000", "IM001"):
        shutil.copy(folder / "files" / name, tmp_path / "in" / name)
    shutil.copy(folder / "files" / "IM002", tmp_path / "in" / "three.dcm")
    (tmp_path / "in" / "notes").write_text("no image")
    (tmp_path / "in" / "cut.dcm").write_bytes((folder / "files" / "IM003").read_bytes()[:900])
    twice = pydicom.dcmread(folder / "files" / "IM003")
    twice.NumberOfFrames, twice.PixelData = 2, 2 * twice.PixelData
    twice.save_as(tmp_path / "in" / "twice.dcm")
    files = ("screen", tmp_path / "in", tmp_path / "gone.png", "--model", used / "model.onnx")
    words = (*files, "--detector", used / "guard.safetensors", "--json", "-q")
    code, out, err = radproof(*words, "--out", tmp_path / "pages")
    assert code == 2
    assert "3 of 6 files could not be screened; the other 3 were" in err
    said = {Path(one["name"]).name: one for one in map(json.loads, out.splitlines())}
    assert list(said) == ["IM000", "IM001", "cut.dcm", "three.dcm", "twice.dcm", "gone.png"]
    assert {name for name, one in said.items() if one["screening"]} == {"IM000", "IM001", "three.dcm"}
    assert "2 frames" in said["twice.dcm"]["refusal"]
    assert {page.name for page in (tmp_path / "pages").iterdir()} == {one["page"] for one in said.values()} - {""}
    assert b"SECRET" not in b"".join(page.read_bytes() for page in (tmp_path / "pages").iterdir())
    assert "SECRET" not in out + err
    monkeypatch.setenv("RADPROOF_GUARDED", "1")
    _, plainly, _ = radproof(*words, "--out", tmp_path / "again")
    assert plainly == out


def test_a_file_without_a_card_is_not_used(model, used, folder, radproof, tmp_path):
    alone = shutil.copy(model, tmp_path / "alone.onnx")
    data, guard = used / "manifest.parquet", used / "guard.safetensors"
    for words in (
        ("screen", folder / "files" / "IM000", "--detector", guard),
        ("guard", "--data", data, "--out", tmp_path / "new"),
        ("detect", "--data", data, "--images", data, "--out", tmp_path / "new"),
    ):
        code, out, err = radproof(*words, "--model", alone, "-q")
        assert (code, out) == (2, "")
        assert "`radproof model check alone.onnx --data IMAGES --write`" in err
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_detecting_with_a_strangers_model_says_what_it_says_unguarded(used, tmp_path, monkeypatch):
    data = used / "manifest.parquet"
    found = []
    for out in ("guarded", "plainly"):
        told, flags = app.detect(
            used / "model.onnx", data, data, ["drift"], tmp_path / out, false_positive_rate=0.3, other_data=True
        )
        assert told == Manifest.read(tmp_path / out) or out == "plainly"
        found.append(flags)
        monkeypatch.setenv("RADPROOF_GUARDED", "1")
    assert found[0] == found[1] and len(found[0]) == 100
    with pytest.raises(BadData, match="--other-data"):
        app.detect(used / "model.onnx", data, data, ["drift"], tmp_path / "new")
    assert not (tmp_path / "new" / "manifest.parquet").exists()
