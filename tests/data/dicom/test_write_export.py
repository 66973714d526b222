# SPDX-License-Identifier: Apache-2.0
"""From DICOM to PNG, an attack's leavings, and back to DICOM: what is asked is what the files hold."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from typer.testing import CliRunner

from radproof.assess.exporting import export_dicom
from radproof.cli.datasets import app
from radproof.core.files import sha256_file
from radproof.core.guard_process import INSIDE
from radproof.data.dicom.export import export
from radproof.data.dicom.folder import read_dicom_folder
from radproof.data.dicom.uids import identity
from radproof.data.load import import_images, read_pixels
from radproof.data.manifest import NAME, Manifest
from radproof.data.storage import quantise_step, write_png
from radproof.errors import BadData


def ct(path: Path, seed: int) -> None:
    """Signed, in Hounsfield units, half of it outside the window."""
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{seed}"
    d.SeriesInstanceUID, d.StudyInstanceUID, d.PatientID, d.PatientName = "1.2.3.5", "1.2.3.6", f"P{seed}", "Doe^Jane"
    d.Modality, d.SamplesPerPixel, d.PhotometricInterpretation = "CT", 1, "MONOCHROME2"
    d.Rows, d.Columns, d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 40, 30, 16, 13, 12, 1
    d.RescaleSlope, d.RescaleIntercept, d.WindowCenter, d.WindowWidth = 1, -24, 40, 400
    d.PixelData = np.random.default_rng(seed).integers(-400, 500, (40, 30)).astype("<i2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    d.save_as(path, enforce_file_format=True)


def attacked(manifest: Manifest, out: Path, *, eps: float = 8 / 255, over: int = 0, threat: str = "linf") -> Manifest:
    """Images as a run leaves them: every free pixel moved by the whole budget, `over` levels beyond it."""
    samples = []
    for sample in manifest.samples:
        stored = read_pixels(sample, manifest.root)
        p, top = stored.pixels[:, :, 0].astype(int), stored.top
        sign = np.random.default_rng(0).choice([-1, 1], p.shape)
        q = np.clip(p + sign * (stored.depth.levels(eps) + over), 0, top)
        if stored.depth.held:
            q = np.where((p == 0) | (p == top), p, q)
        write_png(out / f"{sample.id}.png", q[None].astype(np.int32), stored.depth)
        step = {"step": "attack", "label": "pgd", "eps": eps, "threat": threat, "of": sample.id}
        chain = (*sample.chain, step, quantise_step(stored.depth))
        samples.append(replace(sample, id=f"{sample.id}-0", path=f"{sample.id}.png", chain=chain))
    made = replace(manifest, root=out, samples=tuple(samples))
    made.write(out / NAME)
    return made


@pytest.fixture
def here(monkeypatch):
    """Works in this process, as it does where the process is guarded already: starting one takes seconds."""
    monkeypatch.setenv(INSIDE, "1")


@pytest.fixture
def scans(tmp_path) -> Path:
    for seed in range(4):
        ct(tmp_path / "scans" / "ab"[seed % 2] / f"{seed}.dcm", seed)
    return tmp_path / "scans"


@pytest.fixture
def imported(scans, tmp_path) -> Manifest:
    return read_dicom_folder(scans, tmp_path / "set")


def test_each_file_holds_what_was_asked_and_not_a_level_more(scans, imported, tmp_path):
    attacked(imported, tmp_path / "run" / "images")
    out = tmp_path / "out"
    lines = export_dicom(tmp_path / "run", scans, out)
    # E = floor(8/255 * 399): the window 40/400 runs over 399 steps of one Hounsfield unit.
    assert [(x.asked, x.found, x.stored, x.outside, x.differs, x.within) for x in lines] == [
        (12, 12, 12, 0, 0, True)
    ] * 4
    written = list(csv.DictReader((out / "dicom.csv").read_text().splitlines()))
    assert [(row["id"], row["asked"], row["within"]) for row in written] == [(x.id, "12", "True") for x in lines]
    originals = {sha256_file(p): pydicom.dcmread(p) for p in scans.rglob("*.dcm")}
    for sample, line in zip(imported.samples, lines, strict=True):
        before, after = originals[sample.chain[0]["from"]], pydicom.dcmread(out / line.file)
        s, t = before.pixel_array.astype(int), after.pixel_array.astype(int)
        assert abs(s - t).max() == 12
        hounsfield = s - 24
        beyond = (hounsfield < -160) | (hounsfield > 239)  # c - 0.5 -+ (w - 1) / 2
        assert beyond.mean() > 0.3
        assert (s[beyond] == t[beyond]).all()
        assert after.PatientName == "RADPROOF^TEST"
        assert "pgd, eps 8/255" in after.SeriesDescription
    assert len({pydicom.dcmread(out / x.file).PatientID for x in lines}) == 4


def test_the_same_again_is_the_same_file_and_another_root_is_another_identity(scans, imported, tmp_path):
    attacked(imported, tmp_path / "images")
    where = str(tmp_path / "images" / NAME)
    for name, root in (("one", ""), ("two", ""), ("three", "other")):
        export(where, str(scans), str(tmp_path / name), root=root)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
        if file.suffix == ".dcm":
            one, three = (pydicom.dcmread(tmp_path / name / file.name) for name in ("one", "three"))
            assert one.SOPInstanceUID != three.SOPInstanceUID
            assert one.StudyInstanceUID != three.StudyInstanceUID
            assert one.PatientID != three.PatientID


def test_nobody_finds_an_exported_patient_again_by_the_manifest(scans, imported, tmp_path):
    made = attacked(imported, tmp_path / "images")
    export(str(tmp_path / "images" / NAME), str(scans), str(tmp_path / "out"))
    written = [pydicom.dcmread(file) for file in sorted((tmp_path / "out").glob("*.dcm"))]
    guesses = [identity(root, sample.patient, "", "") for sample in made.samples for root in ("", *_hashes(made))]
    assert not {d.PatientID for d in written} & {who.patient for who in guesses}
    assert not {d.StudyInstanceUID for d in written} & {who.study for who in guesses}
    one = [replace(sample, patient="p-1") for sample in made.samples]
    replace(made, samples=tuple(one)).write(tmp_path / "images" / NAME)
    export(str(tmp_path / "images" / NAME), str(scans), str(tmp_path / "again"))
    assert len({pydicom.dcmread(file).PatientID for file in (tmp_path / "again").glob("*.dcm")}) == 1


def _hashes(manifest: Manifest) -> list[str]:
    return [sample.chain[0]["from"] for sample in manifest.samples]


def test_resampled_images_are_written_as_their_levels(here, scans, imported, tmp_path):
    small = import_images(imported, tmp_path / "small", size=25)
    attacked(small, tmp_path / "images", eps=4 / 255)
    lines = export_dicom(tmp_path / "images", scans, tmp_path / "out")
    assert [(x.asked, x.found, x.differs, x.within, x.resampled) for x in lines] == [(6, 6, 0, True, True)] * 4
    after = pydicom.dcmread(tmp_path / "out" / lines[0].file)
    assert (after.SOPClassUID, after.Rows, after.BitsStored) == ("1.2.840.10008.5.1.4.1.1.7", 25, 9)
    assert (after.WindowCenter, after.WindowWidth, "RescaleSlope" in after) == (200, 400, False)


def test_an_image_beyond_its_budget_is_told_and_fails_the_command(here, scans, imported, tmp_path):
    attacked(imported, tmp_path / "images", over=1)
    asked = [str(tmp_path / "images"), "--source", str(scans), "--out", str(tmp_path / "out"), "--json", "-q"]
    result = CliRunner().invoke(app, ["export-dicom", *asked])
    assert type(result.exception).__name__ == "GateFailed"
    assert [(x["asked"], x["found"], x["within"]) for x in json.loads(result.stdout)] == [(12, 13, False)] * 4


def test_an_l2_budget_is_measured_as_a_length(here, scans, imported, tmp_path):
    attacked(imported, tmp_path / "images", threat="l2")
    (line, *_) = export_dicom(tmp_path / "images", scans, tmp_path / "out")
    assert (line.asked, line.found, line.within) == (None, 12, True)
    attacked(imported, tmp_path / "more", over=20, threat="l2")
    (line, *_) = export_dicom(tmp_path / "more", scans, tmp_path / "out")
    assert not line.within


def test_burnt_in_text_is_told_for_each_image(here, tmp_path):
    for seed in range(2):
        path = tmp_path / "scans" / "ab"[seed] / "x.dcm"
        ct(path, seed)
        d = pydicom.dcmread(path)
        d.Rows, d.Columns, d.PixelData = 200, 200, np.zeros((200, 200), "<i2").tobytes()
        d.save_as(path)
    manifest = read_dicom_folder(tmp_path / "scans", tmp_path / "set")
    attacked(manifest, tmp_path / "images")
    lines = export_dicom(tmp_path / "images", tmp_path / "scans", tmp_path / "out", burn=True)
    assert [(x.burnt, x.within, x.found) for x in lines] == [(True, True, 12)] * 2
    assert pydicom.dcmread(tmp_path / "out" / lines[0].file).BurnedInAnnotation == "YES"


def test_what_cannot_be_exported_is_refused_by_name(scans, imported, tmp_path):
    made = attacked(imported, tmp_path / "images")
    where, out = str(tmp_path / "images" / NAME), str(tmp_path / "out")
    ct(scans / "a" / "0.dcm", 99)  # another image under the old name
    with pytest.raises(BadData, match="lacks 1 of the 4 DICOM files"):
        export(where, str(scans), out)
    with pytest.raises(BadData, match="no folder"):
        export_dicom(tmp_path / "images", tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(BadData, match="no adversarial images"):
        export_dicom(tmp_path / "nowhere", scans, tmp_path / "out")
    with pytest.raises(BadData, match="not as attacks left it"):
        export(str(tmp_path / "set" / NAME), str(scans), out)
    for chain, says in (
        (lambda c: c[1:], "not imported from DICOM"),
        (lambda c: (c[0], {"step": "augment"}, *c[1:]), r"changed after its import \(augment\)"),
    ):
        other = replace(made, samples=tuple(replace(s, chain=chain(s.chain)) for s in made.samples))
        other.write(tmp_path / "images" / NAME)
        with pytest.raises(BadData, match=says):
            export(where, str(scans), out)
    assert not (tmp_path / "out").exists()
    twice = replace(made, samples=(made.samples[0], made.samples[0]))
    twice.write(tmp_path / "images" / NAME)
    with pytest.raises(BadData, match="have one id"):
        export(where, str(scans), out)


def test_an_id_never_leads_out_of_the_folder(scans, imported, tmp_path):
    made = attacked(imported, tmp_path / "images")
    named = [replace(s, id=f"../{n}") for n, s in enumerate(made.samples)]
    replace(made, samples=tuple(named)).write(tmp_path / "images" / NAME)
    export(str(tmp_path / "images" / NAME), str(scans), str(tmp_path / "deep" / "out"))
    assert sorted(p.suffix for p in (tmp_path / "deep" / "out").iterdir()) == [".csv", *[".dcm"] * 4]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]
