"""Other modalities, whole: the example plans for CT and colour on made sets, and real DICOM files there and back."""

import json
import math
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
import yaml
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from radproof import app
from radproof.assess.plan import read_plan
from radproof.cli import main
from radproof.data.manifest import Manifest
from radproof.data.sources import open_data
from radproof.errors import BadPlan
from radproof.training.recipe import TrainingRecipe

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[2] / "examples" / "plans"
SIDE, PATIENTS, SLICES = 32, 30, 3
CENTRE, WIDTH = 40, 400
DARK, LEVELS = -160, 400  # Hounsfield units of the window's first grey level, by C.11.2.1.2; and how many follow
SMALL = {
    "title": "Small",
    "batch": 6,
    "bootstrap": 100,
    "gallery": 2,
    "precision": "fp32",
    "survival": False,
    "smallest": None,
    "corruptions": [],
    "detectors": [],
    "attacks": [{"name": "pgd", "steps": 4}, {"name": "sia", "steps": 2, "copies": 2}],
    "adaptive": [],
    "goals": ["misclassify"],
    "defenses": ["median"],
    "budgets": ["1/255", "16/255"],
}
TRAIN = {"input_size": SIDE, "batch": 16, "precision": "fp32", "augment": {"enabled": False}}


def example(name, folder, *, data, train):
    """The example plan, with other paths and small enough for a test, written into the folder."""
    plan = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8")) | SMALL
    plan["data"] |= data
    plan["model"] = {"train": {**plan["model"]["train"], **TRAIN, **train}}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(plan))
    return path


def run(path, out):
    app.assess(read_plan(path), out)
    return looked_at(out)


def looked_at(out):
    result = json.loads((out / "result.json").read_text())
    cells = {
        (cell["attack"], cell["budget"], cell["defense"]): cell
        for cell in result["cells"]
        if cell["column"] in ("clean", "oblivious")
    }
    clean = next(cell for cell in result["cells"] if cell["column"] == "clean" and cell["defense"] == "none")
    return SimpleNamespace(
        root=out,
        result=result,
        cells=cells,
        clean=clean["scores"]["accuracy"]["value"],
        images=Manifest.read(out / "images"),
        rows=pd.read_parquet(out / "rows.parquet"),
    )


def mode_and_pixels(manifest, sample):
    """How a sample is stored: mode of the PNG and its whole numbers."""
    with Image.open(manifest.root / sample.path) as image:
        return image.mode, np.array(image).astype(int)


def budget_of(sample):
    return next(step["eps"] for step in sample.chain if step["step"] == "attack")


# CT


def abdomen(rng, lesion):
    """(SIDE, SIDE) Hounsfield units: air, soft tissue, a bone, and perhaps a bright lesion."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2 + 0.5
    units = np.where((x / 15) ** 2 + (y / 13) ** 2 < 1, 40.0, -1000.0) + rng.normal(0, 12, (SIDE, SIDE))
    units[np.hypot(x, y - 8) < 2.5] = 700
    if lesion:
        units[np.hypot(x - rng.uniform(-7, 7), y - rng.uniform(-7, 1)) < 4] += 110
    return np.clip(np.rint(units), -1024, 1500).astype(np.int16)


def ct_file(path, units, *, patient, series, place, signed):
    """One slice in twelve stored bits: unsigned with the usual intercept of -1024, or signed as it is."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{series}.{place + 1}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"1.2.4.{series}", f"1.2.5.{series}"
    ds.Modality, ds.PatientID, ds.PatientName, ds.PatientSex = "CT", patient, f"SECRET^{patient}", "O"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 5.0 * place], [1, 0, 0, 0, 1, 0]
    ds.InstanceNumber, ds.SliceThickness = place + 1, 5
    ds.Rows, ds.Columns = units.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, int(signed)
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, 0 if signed else -1024, "HU"
    ds.WindowCenter, ds.WindowWidth = 300, 1500  # a bone window, which the plan does not take
    ds.PixelData = (units if signed else units + 1024).astype("<i2" if signed else "<u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    """A series of slices for each patient, and one table by file; half of the patients have the lesion."""
    root = tmp_path_factory.mktemp("ct")
    rng = np.random.default_rng(4)
    slices, lines = {}, ["file,label"]
    for number in range(PATIENTS):
        ill = number % 2 == 1
        for place in range(SLICES):
            units, file = abdomen(rng, ill), f"{number:02d}/IM{place}"
            path = root / "set" / file
            ct_file(path, units, patient=f"MRN{number}", series=number + 1, place=place, signed=number % 3 == 0)
            slices[hashed(path)] = units
            lines.append(f"{file},{('Normal', 'Lesion')[ill]}")
    (root / "labels.csv").write_text("\n".join(lines))
    return SimpleNamespace(root=root, slices=slices)


def hashed(path):
    return sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def ct_run(ct):
    data = {"path": str(ct.root / "set"), "labels": str(ct.root / "labels.csv"), "images": 12}
    plan = example("ct", ct.root, data=data, train={"epochs": 6})
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(sys, "argv", ["radproof", "assess", str(plan), "--out", str(ct.root / "run"), "--quiet"])
        main()
        raise SystemExit(0)
    assert stop.value.code in (None, 0)
    return looked_at(ct.root / "run")


def test_ct_from_slices_to_the_report(ct_run):
    result = ct_run.result
    assert result["resolution"] == f"{SIDE}×{SIDE}, {LEVELS} grey levels"
    assert result["labels"] == ["Normal", "Lesion"]
    per_fold = {"train": 27, "validation": 9, "test": 9}  # 9, 3 and 3 patients of each class
    assert result["data"]["folds"] == {fold: {"Normal": n, "Lesion": n} for fold, n in per_fold.items()}
    assert result["data"]["assessed"] == {"Normal": 6, "Lesion": 6}
    assert ct_run.clean >= 0.9
    for attack in ("pgd", "sia"):
        assert result["images"] == 12 and (attack, "16/255", "median") in ct_run.cells
        small, large = (ct_run.cells[attack, budget, "none"]["success"]["value"] for budget in ("1/255", "16/255"))
        assert large > small
    page = (ct_run.root / "report.html").read_text(encoding="utf-8")
    assert f"{LEVELS} grey levels" in page and "SECRET" not in page and "MRN" not in page


def test_ct_images_keep_a_budget_of_whole_units_inside_the_window(ct_run, ct):
    found = {1: 0, 16: 0}
    for sample in ct_run.images.samples:
        units = ct.slices[sample.chain[0]["from"]].astype(int)
        made = mode_and_pixels(ct_run.images, sample)[1]
        change = made - (units.clip(DARK, DARK + LEVELS - 1) - DARK)
        eps = budget_of(sample)
        budget = math.floor(eps * (LEVELS - 1) + 1e-6)
        assert np.abs(change).max() <= budget
        assert not change[(units < DARK) | (units >= DARK + LEVELS)].any()  # air and bone
        assert (sample.top, sample.held) == (LEVELS - 1, True)
        found[round(eps * 255)] = max(found[round(eps * 255)], int(np.abs(change).max()))
    assert found == {1: 1, 16: 25}  # of 399 grey levels; an image that was wrong before may stay as it was
    assert {sample.chain[0]["slice"] for sample in ct_run.images.samples} <= set(range(SLICES))


def test_slices_of_a_patient_share_a_fold(ct, ct_run):
    whole = Manifest.read(next((ct_run.root / "data").glob("dicom-*")))
    assert len(whole.patients()) == PATIENTS and len(whole) == PATIENTS * SLICES
    per_patient = {}
    for sample in whole.samples:
        per_patient.setdefault(sample.patient, []).append(sample.chain[0]["slice"])
    assert all(sorted(places) == [0, 1, 2] for places in per_patient.values())


# CT as NIfTI


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Volumes whose lower half holds a lesion in every second one: a row for every slice."""
    root = tmp_path_factory.mktemp("nifti")
    (root / "set").mkdir()
    rng = np.random.default_rng(5)
    slices, lines = {}, ["file,label,patient"]
    for number in range(24):
        planes = [abdomen(rng, lesion=index < 2) for index in range(4)]
        stored = np.stack([plane.T[::-1, ::-1] for plane in planes], 2)  # along right, anterior, superior
        nibabel.save(nibabel.Nifti1Image(stored, np.diag([1.0, 1.0, 5.0, 1.0])), root / "set" / f"v{number}.nii.gz")
        for index, plane in enumerate(planes):
            slices[f"v{number}.nii.gz#axial-{index}"] = plane
            lines.append(f"v{number}#{index},{('Normal', 'Lesion')[index < 2]},P{number}")
    (root / "labels.csv").write_text("\n".join(lines))
    return SimpleNamespace(root=root, slices=slices)


def test_ct_from_nifti_with_a_label_for_every_slice(volumes):
    data = {"kind": "nifti", "path": str(volumes.root / "set"), "labels": str(volumes.root / "labels.csv")}
    plan = example("ct", volumes.root, data=data | {"axis": "axial", "images": 12}, train={"epochs": 6})
    found = run(plan, volumes.root / "run")
    assert found.result["resolution"] == f"{SIDE}×{SIDE}, 16 bit"
    assert found.clean >= 0.9
    whole = Manifest.read(next((found.root / "data").glob("nifti-*")))
    assert len(whole) == 96 and len(whole.patients()) == 24
    originals = {sample.id: mode_and_pixels(whole, sample)[1] for sample in whole.samples}
    for sample in whole.samples:  # a NIfTI window has no half steps: 40 -+ 200
        index = sample.chain[0]["index"]
        assert sample.labels == (("Normal", "Lesion")[index < 2],)
    shown = {tuple(image.ravel()) for image in originals.values()}
    expected = {
        tuple(np.rint((plane.clip(-160, 240) + 160.0) / 400 * 65535).astype(int).ravel())
        for plane in volumes.slices.values()
    }
    assert shown == expected
    changes = [
        (budget_of(sample) * 65535, np.abs(mode_and_pixels(found.images, sample)[1] - originals[sample.id[:16]]).max())
        for sample in found.images.samples
    ]
    assert all(change <= budget + 1e-6 for budget, change in changes)
    assert sum(change > 0 for _, change in changes) > len(changes) / 2


@pytest.mark.slow
def test_axis_and_slices_of_a_plan_reach_the_volumes(volumes, tmp_path):
    table = tmp_path / "whole.csv"
    table.write_text("file,label\n" + "\n".join(f"v{n},{'AB'[n % 2]}" for n in range(24)))
    told = {"labels": str(table), "voi": "percentiles", "cache": tmp_path / "cache"}
    for axis, slices, indices, shape in (("coronal", 16, {0, 16}, (4, SIDE)), ("axial", "middle", {2}, (SIDE, SIDE))):
        found = app.open_path(volumes.root / "set", axis=axis, slices=slices, **told)
        steps = [sample.chain[0] for sample in found.samples]
        assert {(step["axis"], step["index"]) for step in steps} == {(axis, index) for index in indices}
        assert len(found) == 24 * len(indices)
        assert mode_and_pixels(found, found.samples[0])[1].shape == shape
    with pytest.raises(BadPlan, match="axis and slices are of NIfTI"):
        open_data("dicom", volumes.root / "set", slices="middle", cache=tmp_path / "cache")


# Colour


@pytest.fixture(scope="module")
def tissue(tmp_path_factory):
    """A file as MedMNIST's: three classes that differ in hue alone, their grey being the same."""
    rng = np.random.default_rng(6)
    arrays = {}
    hues = np.array([[8, -4, 0], [-8, 4, 0], [0, -3, 16]])  # of luminance about 0
    for fold, count in (("train", 90), ("val", 24), ("test", 24)):
        labels = np.arange(count) % 3
        noise = rng.normal(0, 10, (count, 28, 28, 3)) + rng.normal(150, 10, (count, 1, 1, 1))
        arrays[f"{fold}_images"] = (noise + hues[labels][:, None, None]).clip(0, 255).astype(np.uint8)
        arrays[f"{fold}_labels"] = labels[:, None].astype(np.uint8)
    path = tmp_path_factory.mktemp("colour") / "tissue.npz"
    np.savez(path, **arrays)
    return SimpleNamespace(path=path, arrays=arrays)


@pytest.fixture(scope="module")
def colour_run(tissue):
    train = {"architecture": "test_resnet", "epochs": 4, "lr": 0.003}
    plan = example("colour", tissue.path.parent, data={"path": str(tissue.path), "images": 12}, train=train)
    return run(plan, tissue.path.parent / "run")


def test_colour_from_an_archive_to_the_report(colour_run):
    result = colour_run.result
    assert result["labels"] == ["class 0", "class 1", "class 2"]
    assert result["model"]["channels"] == 3
    assert result["data"]["folds"]["test"] == {"class 0": 8, "class 1": 8, "class 2": 8}
    assert colour_run.clean >= 0.9
    assert {(attack, "16/255", defence) for attack in ("pgd", "sia") for defence in ("none", "median")} <= set(
        colour_run.cells
    )
    assert result["resolution"] == "28×28 in colour, 8 bit"
    assert result["resolution"] in (colour_run.root / "report.html").read_text(encoding="utf-8")
    assert result["gallery"]
    for picture in result["gallery"]:
        for name in ("original", "attacked", "defended", "difference"):
            with Image.open(colour_run.root / picture["files"][name]) as image:
                assert image.mode == "RGB"


def test_colour_images_stay_in_colour_and_in_their_budget(colour_run, tissue):
    known = {image.tobytes() for image in tissue.arrays["test_images"]}
    whole = Manifest.read(next((colour_run.root / "data").glob("medmnist-*")))
    originals = {sample.id: mode_and_pixels(whole, sample)[1] for sample in whole.samples}
    for sample in colour_run.images.samples:
        (mode, image), original = mode_and_pixels(colour_run.images, sample), originals[sample.id[:16]]
        assert mode == "RGB" and original.astype(np.uint8).tobytes() in known
        change = image - original
        eps = budget_of(sample)
        assert 0 < np.abs(change).max() <= round(eps * 255)
        assert (np.abs(change).max((0, 1)) > 0).all()  # every channel
        assert np.ptp(change, axis=2).any()  # and not as grey


# Real files


TOPS = {"nih_": 255, "siim_1": 255, "siim_same": 255, "RG1": 29999}


def test_real_dicom_files_there_and_back(shared, radproof, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    folder = shared / "data" / "dicom"
    lines = ["file,label,patient,split"]
    # The twin has the identifier of its source, and would be refused as the same image: it gets one of its own.
    for number, start in enumerate(TOPS):
        ds = pydicom.dcmread(next(folder.glob(f"{start}*")))
        if start == "siim_same":
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SOPInstanceUID}.1"
        ds.save_as(source / f"{start}.dcm")
        lines.append(f"{start},{('Normal', 'Other')[number % 2]},P{number},test")
    # Two with values outside their window, and some for the other folds.
    rng = np.random.default_rng(7)
    for number, fold in enumerate(("test", "test", "train", "train", "validation", "validation")):
        told = {"patient": f"E{number}", "series": 90 + number, "place": 0, "signed": number == 1}
        ct_file(source / f"ct{number}.dcm", abdomen(rng, False), **told)
        lines.append(f"ct{number},{('Normal', 'Other')[number % 2]},E{number},{fold}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    told = radproof("data", "import", source, "--labels", tmp_path / "labels.csv", "--out", tmp_path / "set", "-q")
    assert told[0] == 0, told[2]
    assert "test        Normal 3, Other 3" in told[1]

    manifest = Manifest.read(tmp_path / "set")
    real = {start: find(manifest, source / f"{start}.dcm") for start in TOPS}
    assert {start: sample.top or 255 for start, sample in real.items()} == TOPS
    png = {start: mode_and_pixels(manifest, sample)[1] for start, sample in real.items()}
    assert (png["siim_same"] == 255 - png["siim_1"]).all()
    assert png["RG1"].shape == (1955, 1841)

    recipe = {**TRAIN, "architecture": "cxrnet", "hidden": 0, "head_epochs": 0, "epochs": 1, "unfreeze": "all"}
    app.train(manifest, TrainingRecipe.model_validate(recipe), tmp_path / "model")
    attack = ("--attacks", "fgsm", "--eps", "4/255", "--out", tmp_path / "attack", "-q")
    told = radproof("attack", "--model", tmp_path / "model", "--data", tmp_path / "set", *attack)
    assert told[0] == 0, told[2]
    told = radproof(
        "data", "export-dicom", tmp_path / "attack", "--source", source, "--out", tmp_path / "out", "--json", "-q"
    )
    assert told[0] == 0, told[2]
    index = json.loads(told[1])
    assert len(index) == 6 and all(line["within"] and line["outside"] == line["differs"] == 0 for line in index)

    made = {sample.id: sample for sample in Manifest.read(tmp_path / "attack" / "images").samples}
    originals = {hashed(path): path for path in source.iterdir()}
    outside = 0
    for line in index:
        sample = made[line["id"]]
        before = originals[sample.chain[0]["from"]]
        outside += check_written(tmp_path / "out" / line["file"], before, budget_of(sample))
    assert outside == 2  # the two slices


def find(manifest, path):
    return next(sample for sample in manifest.samples if sample.chain[0]["from"] == hashed(path))


def check_written(path, original, eps):
    """By pydicom and the standard's own formulas alone; whether any pixel lies outside the window."""
    before, after = pydicom.dcmread(original), pydicom.dcmread(path)
    slope = float(before.get("RescaleSlope", 1))
    old, new = before.pixel_array.astype(int), after.pixel_array.astype(int)
    if "WindowWidth" in before and before.BitsStored > 8:
        intercept = float(before.get("RescaleIntercept", 0))
        middle, half = float(before.WindowCenter) - 0.5, (float(before.WindowWidth) - 1) / 2
        low, high = ((middle + side * half - intercept) / slope for side in (-1, 1))
    else:
        low, high = 0, 255
    budget = math.floor(eps * (high - low) + 1e-6)
    assert 0 < np.abs(new - old).max() <= budget <= math.floor(eps * (high - low + 1) / slope)
    beyond = (old < low) | (old > high)
    assert (new == old)[beyond].all()
    assert after.PhotometricInterpretation == before.PhotometricInterpretation
    content = path.read_bytes()
    for keyword in ("PatientName", "PatientID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        if len(str(before.get(keyword, ""))) > 3:
            assert str(before[keyword].value).encode() not in content
    return bool(beyond.any())
