"""A folder of DICOM files becomes PNG files, displays and a manifest in which nobody can be found."""

import json
import logging
import subprocess
import sys
import warnings

import numpy as np
import pytest
from pydicom.dataset import Dataset

from radproof.core.depth import Depth
from radproof.data.dicom.folder import read_dicom_folder
from radproof.data.dicom.read import read_dicom
from radproof.data.images import read_image
from radproof.data.inventory import pseudonym, sample_id, secret_of
from radproof.data.load import read_sample
from radproof.data.manifest import Manifest
from radproof.errors import BadData, BadImage, BadInput, UnknownName

RNG = np.random.default_rng(3)


@pytest.fixture
def study(tmp_path, making):
    """study(path, patient=..., uid=..., ...) writes one file of 12 bits below tmp_path/in."""
    root = tmp_path / "in"
    root.mkdir()

    def add(path, *, pixels=None, **elements):
        pixels = RNG.integers(0, 4096, (10, 12)).astype(np.uint16) if pixels is None else pixels
        elements = {"SOPInstanceUID": f"1.2.{abs(hash(path)) % 10**12}", "PatientID": path[-9:-4]} | elements
        making.write(root / path, making.data_set(pixels, stored=12, **elements))
        return pixels

    add.root = root
    return add


def taken(study, tmp_path, **how):
    return read_dicom_folder(study.root, tmp_path / "out", **how)


def test_classes_by_folder_and_what_is_no_image(study, tmp_path, making):
    one = study(
        "Normal/a.dcm", WindowCenter=2048, WindowWidth=1001, ViewPosition="PA", PatientAge="058Y", PatientSex="F"
    )
    study("Pneumonia/b", pixels=RNG.integers(0, 4096, (7, 5)).astype(np.uint16), ViewPosition="LL", PatientID="7")
    study("loose.dcm")
    (study.root / "Normal" / "notes.dcm").write_text("no image")
    (study.root / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "else.dcm").write_bytes(b"x")
    (study.root / "Normal" / "link.dcm").symlink_to(tmp_path / "else.dcm")
    report = Dataset()
    report.SOPClassUID, report.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.9"
    making.write(study.root / "Normal" / "sr.dcm", report)
    made = taken(study, tmp_path)
    assert made.labels == ("Normal", "Pneumonia") and made.head == "softmax"
    assert made.source["left_out"] == {
        "DICOM without an image": 1,
        "DICOMDIR": 1,
        "links out of the folder": 1,
        "not DICOM": 1,
        "unlabelled": 1,
    }
    first, second = made.samples
    assert (first.id, first.labels, first.view, first.age, first.sex) == (
        sample_id("Normal/a.dcm"),
        ("Normal",),
        "PA",
        58,
        "F",
    )
    assert (second.view, second.patient) == (
        "LL",
        pseudonym("7", secret_of(study.root / "Normal" / "a.dcm", "pseudonyms")),
    )
    assert made.source["patients"] == "known"
    assert (first.top, first.held) == (999, True)
    stored = read_sample(first, made.root)
    assert stored.depth == Depth(999, held=True)
    assert (stored.pixels[:, :, 0] == np.clip(one.astype(int), 1548, 2547) - 1548).all()
    aside = json.loads((made.root / "images" / f"{first.id}.dicom.json").read_text())
    assert aside["display"] == {"low": 1548, "high": 2547, "inverted": False, "table": None, "top": 999, "held": True}
    assert aside == read_dicom(study.root / "Normal" / "a.dcm").sidecar()
    assert dict(first.chain[0]) == {"step": "dicom", "from": aside["sha256"], "frame": 0, "voi": "file"}
    again = Manifest.read(tmp_path / "out")
    assert again.samples == made.samples and again.source == made.source


def test_folds_by_folder_and_windows_asked_for(study, tmp_path):
    for fold in ("train", "test"):
        for label in "AB":
            study(f"{fold}/{label}/{fold}.dcm", RescaleSlope=1, RescaleIntercept=-1024)
    made = taken(study, tmp_path, voi=(0.5, 401))
    assert sorted((s.fold, s.labels[0]) for s in made.samples) == [(f, c) for f in ("test", "train") for c in "AB"]
    assert {s.top for s in made.samples} == {400} and made.source["voi"] == [0.5, 401]


def test_a_table_knows_images_by_path_name_and_uid(study, tmp_path):
    for name in ("x/a.dcm", "x/b.dcm", "y/c.dcm", "y/d.dcm"):
        study(name, SOPInstanceUID=f"1.2.3.{ord(name[2])}", PatientID="z")
    table = tmp_path / "labels.csv"
    table.write_text(f"image,label,patient\nx/a.dcm,Sick,p1\nb,Well,z\n1.2.3.{ord('c')},Sick,p2\nnowhere.dcm,Well,p3\n")
    made = taken(study, tmp_path, labels=table)
    key = secret_of(table, "pseudonyms")
    found = {s.id: (s.labels[0], s.patient) for s in made.samples}
    assert found == {
        sample_id("x/a.dcm"): ("Sick", pseudonym("p1", key)),
        sample_id("x/b.dcm"): ("Well", pseudonym("z", key)),
        sample_id("y/c.dcm"): ("Sick", pseudonym("p2", key)),
    }
    assert made.source["left_out"] == {"table rows without an image": 1, "unlabelled": 1}


def test_a_row_is_of_one_file_and_its_frames(study, tmp_path):
    cine = RNG.integers(0, 4096, (3, 8, 8)).astype(np.uint16)
    study("patA/IM1", pixels=cine, frames=True)
    study("patB/IM2")
    table = tmp_path / "labels.csv"
    table.write_text("file,label\nIM1,Sick\nIM2,Well\n")
    assert len(taken(study, tmp_path, labels=table)) == 4
    study("patC/IM1")
    with pytest.raises(BadData, match=r"labels.csv, line 2: the row fits two images, 'patA/IM1' and 'patC/IM1'"):
        taken(study, tmp_path, labels=table)


def test_patients_come_from_the_table_or_from_the_headers(study, tmp_path):
    for name in "abc":
        study(f"{name}.dcm", PatientID="17")
    table = tmp_path / "labels.csv"
    table.write_text("file,label,patient\na,x,17\nb,y,\nc,y,17\n")
    with pytest.raises(BadData, match=r"labels.csv, line 3: no patient"):
        taken(study, tmp_path, labels=table)
    table.write_text("file,label,patient\na,x,\nb,y,\nc,y,\n")
    made = taken(study, tmp_path, labels=table)
    assert made.patients() == [pseudonym("17", secret_of(study.root / "a.dcm", "pseudonyms"))]
    assert made.patients() != [pseudonym("17")]


def test_without_a_patient_the_images_of_a_series_stay_together(study, tmp_path):
    for label in "AB":
        for number in range(3):
            series = {"SeriesInstanceUID": f"1.2.7.{ord(label)}", "Modality": "CT", "InstanceNumber": number}
            study(f"{label}/{number}.dcm", PatientID="", **series)
    study("B/cine.dcm", pixels=np.zeros((2, 8, 8), np.uint16), frames=True, PatientID="")
    made = taken(study, tmp_path)
    assert (len(made), len(made.patients()), made.source["patients"]) == (8, 3, "series")
    assert all(sample.patient.startswith("s-") for sample in made.samples)
    study("A/known.dcm", PatientID="1")
    assert taken(study, tmp_path).source["patients"] == "series"
    study("A/lone.dcm", PatientID="")
    made = taken(study, tmp_path)
    assert (made.source["patients"], [not sample.patient for sample in made.samples].count(True)) == ("unknown", 1)


def test_labels_by_an_element_of_each_file(study, tmp_path):
    for name, words in (("a", "No Finding"), ("b", "Pneumonia"), ("c", "Effusion"), ("d", "")):
        study(f"{name}.dcm", StudyDescription=words)
    made = taken(study, tmp_path, label_tag="StudyDescription", classes=["Pneumonia", "No Finding"])
    assert made.labels == ("Pneumonia", "No Finding")
    assert made.source["left_out"] == {"other classes": 1, "unlabelled": 1}
    for word in ("PatientName", "PatientID", "StudyDate", "AccessionNumber", "ImageComments", "Nothing"):
        with pytest.raises(UnknownName, match="labels cannot come from"):
            taken(study, tmp_path, label_tag=word)
    with pytest.raises(UnknownName, match="no image shows the class 'Pneumonie'; did you mean"):
        taken(study, tmp_path, label_tag="StudyDescription", classes=["Pneumonie", "No Finding"])


def test_frames_and_slices_in_their_order(study, tmp_path):
    cine = RNG.integers(0, 4096, (3, 8, 8)).astype(np.uint16)
    study("A/cine.dcm", pixels=cine, frames=True)
    for name, depth in (("1", 30), ("2", -10), ("3", 20)):
        study(
            f"B/s{name}.dcm",
            Modality="CT",
            SeriesInstanceUID="1.2.77",
            ImagePositionPatient=[0, 0, depth],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PatientID="one",
        )
    made = taken(study, tmp_path, voi="full")
    assert [s.id for s in made.samples[:3]] == [sample_id(f"A/cine.dcm#{k}") for k in range(3)]
    for sample, frame in zip(made.samples, cine, strict=False):
        assert (read_sample(sample, made.root).pixels[:, :, 0] == frame).all()
    assert [s.id for s in made.samples[3:]] == [sample_id(f"B/s{n}.dcm") for n in "231"]
    assert [s.chain[0]["slice"] for s in made.samples[3:]] == [0, 1, 2]
    assert len({s.chain[0]["series"] for s in made.samples[3:]}) == 1 and "1.2.77" not in str(made.samples)


def test_what_cannot_be_a_data_set(study, tmp_path):
    study("A/a.dcm", SOPInstanceUID="1.2.5")
    study("B/b.dcm", SOPInstanceUID="1.2.5")
    with pytest.raises(BadData, match=r"B/b.dcm and A/a.dcm are the same image by their SOPInstanceUID"):
        taken(study, tmp_path)
    study("B/b.dcm")
    with pytest.raises(BadInput, match="not from both"):
        taken(study, tmp_path, labels=tmp_path / "l.csv", label_tag="Modality")
    with pytest.raises(BadInput, match="folders give one label"):
        taken(study, tmp_path, multi_label=True)
    with pytest.raises(BadData, match="there is no folder"):
        read_dicom_folder(tmp_path / "none", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadData, match="holds no DICOM image"):
        read_dicom_folder(tmp_path / "empty", tmp_path / "out")
    study("B/bad.dcm", Rows=0)
    with pytest.raises(BadImage, match=r"^B/bad.dcm: Rows must be"):
        taken(study, tmp_path)
    assert not (tmp_path / "out" / "manifest.parquet").exists()


def test_the_real_folder_names_its_twin(shared, tmp_path):
    with pytest.raises(BadData, match=r"siim_same_image_inverted_MONOCHROME1.dcm and siim_1.* are the same image"):
        read_dicom_folder(shared / "data" / "dicom", tmp_path / "out", label_tag="Modality")


# --- nobody is named ----------------------------------------------------------------------------------------------

SECRETS = {
    "PatientName": "Zzyzx^Quillon", "PatientID": "MRN-55512345", "PatientBirthDate": "19420717",
    "OtherPatientIDs": "ALT-99887", "PatientAddress": "17 Wobble Lane", "PatientTelephoneNumbers": "555-0199",
    "AccessionNumber": "ACC-77001", "StudyID": "STU-4242", "StudyDate": "20190823", "SeriesDate": "20190824",
    "AcquisitionDate": "20190825", "ContentDate": "20190826", "StudyTime": "112233",
    "InstitutionName": "Grizzly Hospital",
    "InstitutionAddress": "4 Bear Road", "ReferringPhysicianName": "Doc^Brown", "OperatorsName": "Op^Erator",
    "PerformingPhysicianName": "Perf^Ormer", "StationName": "XRAYROOM9", "DeviceSerialNumber": "SN-31337",
    "StudyDescription": "chest of Mrs Zzyzx", "SeriesDescription": "PA Quillon", "ImageComments": "call her son Bob",
    "BodyPartExamined": "CHEST ZZYZX", "ViewPosition": "PA QUILLON", "ImageType": ["ORIGINAL", "PRIMARY", "ZZYZX"],
    "ProtocolName": "Quillon protocol", "PatientComments": "lives alone", "AdditionalPatientHistory": "fell off Zzyzx",
    "StudyInstanceUID": "1.2.999.111222333", "SeriesInstanceUID": "1.2.999.444555666",
    "SOPInstanceUID": "1.2.999.777888",
    "FrameOfReferenceUID": "1.2.999.121212", "IssuerOfPatientID": "GrizzlyIssuer", "RescaleType": "ZZYZX",
    "VOILUTFunction": "LINEAR", "PatientAge": "077Y", "WindowCenterWidthExplanation": "for Quillon",
}  # fmt: skip
WORDS = (
    "zzyzx", "quillon", "mrn-555", "19420717", "alt-998", "wobble", "555-0199", "acc-770", "stu-424", "2019082",
    "112233",
    "grizzly", "bear", "brown", "erator", "ormer", "xrayroom", "31337", "her son", "1.2.999", "alone", "private eye",
)  # fmt: skip


def burdened(making, pixels, **elements):
    ds = making.data_set(pixels, stored=12, **(SECRETS | elements))
    ds.private_block(0x0011, "Private Eye", create=True).add_new(1, "LO", "Zzyzx private")
    return ds


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"])
def test_nothing_of_a_patient_is_written(tmp_path, making, syntax, caplog, capfd):
    for k, label in enumerate("AB"):
        pixels = RNG.integers(0, 4096, (10, 12)).astype(np.uint16)
        ds = burdened(making, pixels, SOPInstanceUID=f"1.2.999.777888.{k}")
        making.write(tmp_path / "in" / label / f"{k}.dcm", ds, syntax)
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        made = read_dicom_folder(tmp_path / "in", tmp_path / "out")
    texts = [str(made), caplog.text, *capfd.readouterr(), *(str(w.message) for w in warned)]
    for file in (tmp_path / "out").rglob("*"):
        texts.append(file.relative_to(tmp_path).as_posix())
        if file.is_file():
            texts.append(file.read_bytes().decode("latin-1"))
    everything = "\n".join(texts).lower()
    assert len(texts) > 9 and all(word not in everything for word in WORDS)
    assert not any(read_image(file).pixels.max() > 4095 for file in (tmp_path / "out").rglob("*.png"))
    aside = json.loads(next((tmp_path / "out").rglob("*.json")).read_text())["facts"]
    assert (aside["body_part"], aside["view"], aside["rescale_type"], aside["age"]) == ("", "", "", 77)
    assert aside["image_type"] == ["ORIGINAL", "PRIMARY"]


def test_nothing_of_a_patient_is_in_an_error(tmp_path, making, caplog, capfd):
    """The same file broken in 400 places: whatever is said of it, names are not."""
    making.write(tmp_path / "in" / "A" / "a.dcm", burdened(making, np.zeros((8, 8), np.uint16), SamplesPerPixel=1))
    path = tmp_path / "in" / "A" / "a.dcm"
    data = path.read_bytes()
    caplog.set_level(logging.DEBUG)
    said = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for _ in range(400):
            broken = bytearray(data)
            for at in RNG.integers(132, len(data) - 128, 4):
                broken[at] = RNG.integers(256)
            path.write_bytes(broken)
            try:
                image = read_dicom(path)
                said.append(repr(image.facts) + json.dumps(image.sidecar()))
            except BadImage as error:
                said += [str(error), repr(error.__cause__)]
    everything = "\n".join([*said, caplog.text, *capfd.readouterr(), *(str(w.message) for w in warned)]).lower()
    assert len(said) >= 400 and all(word not in everything for word in WORDS)


@pytest.mark.parametrize(
    ("code", "meaning", "view"),
    [
        ("R-10214", "x", "PA"),
        ("1", "antero-posterior", "AP"),
        ("1", "left lateral", "LL"),
        ("1", "Doe, lateral", "LATERAL"),
        ("1", "John Doe", ""),
    ],
)
def test_views_by_their_code(dicom, code, meaning, view):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "SRT", meaning
    assert read_dicom(dicom(np.zeros((4, 4), np.uint8), ViewCodeSequence=[item])).facts.view == view


_TOGETHER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from radproof.data.dicom.read import read_dicom
assert "pydicom" not in sys.modules
sys.setswitchinterval(1e-5)
with ThreadPoolExecutor(8) as pool:
    print({int(image.raw.sum()) for image in pool.map(read_dicom, [Path(sys.argv[1])] * 8)})
"""


@pytest.mark.slow
def test_the_first_files_may_be_read_by_several_threads(dicom):
    """Python's own lock on imports gives way where threads wait for each other: files were then called damaged."""
    path = dicom(np.ones((4, 4), np.uint8))
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", _TOGETHER, str(path)], capture_output=True, text=True, timeout=60)
        assert done.stdout == "{16}\n", done.stderr[-500:]
