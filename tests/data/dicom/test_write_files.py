# SPDX-License-Identifier: Apache-2.0
"""Written files, read again and judged by their own tags: the change asked for, no level more, and no name."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from radproof.data.dicom.derived import Told
from radproof.data.dicom.measure import measure_again
from radproof.data.dicom.read import DicomImage, read_dicom
from radproof.data.dicom.write import Whose, write_dicom
from radproof.errors import BadInput

CR, SC, CT = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.2"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
SECRETS = {
    "PatientName": "Hedwig^Muster",
    "PatientID": "PID-77001",
    "PatientBirthDate": "19331224",
    "OtherPatientIDs": "OTHER-77002",
    "StudyDate": "20110704",
    "ContentDate": "20110705",
    "AccessionNumber": "ACC77003",
    "InstitutionName": "Spital Musterstadt",
    "ReferringPhysicianName": "Referent^Rita",
    "OperatorsName": "Operator^Otto",
    "StationName": "STATION77",
    "DeviceSerialNumber": "SN-77004",
    "Manufacturer": "Maker77",
    "StudyDescription": "Thorax of Hedwig",
    "SeriesDescription": "Hedwig again",
    "ImageComments": "Hedwig once more",
    "StudyID": "ST77005",
    "SOPInstanceUID": "1.2.777.1",
    "SeriesInstanceUID": "1.2.777.2",
    "StudyInstanceUID": "1.2.777.3",
    "FrameOfReferenceUID": "1.2.777.4",
}
TOLD, WHOSE = Told("pgd, eps 4/255"), Whose("PID-77001")


def source(path: Path, stored: np.ndarray, **tags: object) -> DicomImage:
    """A file full of names, with these stored values, read as any other."""
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    base: dict[str, object] = {
        "SOPClassUID": CR,
        "Modality": "CR",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": stored.dtype.itemsize * 8,
        "BitsStored": stored.dtype.itemsize * 8,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        "PatientSex": "F",
        "PatientAge": "077Y",
    }
    for keyword, value in {**SECRETS, **base, **tags}.items():
        setattr(d, keyword, value)
    d.Rows, d.Columns, d.HighBit = *stored.shape, d.BitsStored - 1
    private = d.private_block(0x0077, "MAKER PRIVATE", create=True)
    private.add_new(0x01, "LO", "private of Hedwig")
    d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = d.SOPClassUID, d.SOPInstanceUID
    d.PixelData = stored.tobytes()
    d.save_as(path, enforce_file_format=True)
    return read_dicom(path)


def lut(signed: bool, first: int, entries: np.ndarray, bits: int) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if signed else "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return Sequence([item])


def noise(kind: str, low: int, high: int) -> np.ndarray:
    stored = np.random.default_rng(1).integers(low, high + 1, (33, 27)).astype(kind)
    stored[0, :2] = low, high
    return stored


CURVE = np.rint(4095 * (np.linspace(0, 1, 600) ** 1.7))
TWELVE = noise("<u2", 0, 4095)
HOUNSFIELD = {"SOPClassUID": CT, "Modality": "CT", "BitsStored": 13, "RescaleIntercept": -1024, "RescaleSlope": 1}
KINDS: dict[str, tuple[np.ndarray, dict[str, object]]] = {
    "8 bit": (noise("u1", 0, 255), {}),
    "8 bit white is 0": (noise("u1", 0, 255), {"PhotometricInterpretation": "MONOCHROME1"}),
    "12 in 16": (TWELVE, {"BitsStored": 12, "WindowCenter": 1800, "WindowWidth": 2401}),
    "several windows": (TWELVE, {"BitsStored": 12, "WindowCenter": [900, 2048], "WindowWidth": [700, 4096]}),
    "exact": (TWELVE, {"BitsStored": 12, "WindowCenter": 1500, "WindowWidth": 1200, "VOILUTFunction": "LINEAR_EXACT"}),
    "broken window": (TWELVE, {"BitsStored": 12, "WindowCenter": 1500.3, "WindowWidth": 1200.9}),
    "no window": (TWELVE[1:] // 2 + 300, {"BitsStored": 12}),
    "white is 0": (
        TWELVE,
        {"BitsStored": 12, "PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 2000, "WindowWidth": 3000},
    ),
    "inverse": (
        TWELVE,
        {"BitsStored": 12, "PresentationLUTShape": "INVERSE", "WindowCenter": 2000, "WindowWidth": 999},
    ),
    "signed": (noise("<i2", -1500, 2500), {**HOUNSFIELD, "WindowCenter": 40, "WindowWidth": 400}),
    "signed lung": (noise("<i2", -1500, 2500), {**HOUNSFIELD, "WindowCenter": -600, "WindowWidth": 1500}),
    "slope": (
        TWELVE,
        {"BitsStored": 12, "RescaleSlope": 0.25, "RescaleIntercept": 3, "WindowCenter": 400, "WindowWidth": 500},
    ),
    "falling": (
        TWELVE,
        {"BitsStored": 12, "RescaleSlope": -2, "RescaleIntercept": 8190, "WindowCenter": 4000, "WindowWidth": 5001},
    ),
    "sigmoid": (TWELVE, {"BitsStored": 12, "WindowCenter": 2000, "WindowWidth": 900, "VOILUTFunction": "SIGMOID"}),
    "table": (TWELVE, {"BitsStored": 12, "VOILUTSequence": lut(False, 1100, CURVE, 12)}),
    "table white is 0": (
        TWELVE,
        {"BitsStored": 12, "VOILUTSequence": lut(False, 1100, CURVE, 12), "PhotometricInterpretation": "MONOCHROME1"},
    ),
    "signed table": (noise("<i2", -900, 900), {**HOUNSFIELD, "VOILUTSequence": lut(True, -1300, CURVE, 12)}),
    "modality table": (
        TWELVE,
        {"BitsStored": 12, "ModalityLUTSequence": lut(False, 0, np.arange(4096) ** 2 // 256, 16)},
    ),
}
LINEAR = [kind for kind in KINDS if "table" not in kind and kind != "sigmoid"]


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> dict[str, tuple[Path, DicomImage]]:
    folder = tmp_path_factory.mktemp("sources")
    made = {}
    for number, (kind, (stored, tags)) in enumerate(KINDS.items()):
        path = folder / f"{number}.dcm"
        made[kind] = path, source(path, stored, **tags)
    return made


def pushed(original: DicomImage, eps: float, seed: int) -> np.ndarray:
    """Grey levels inside the budget, many of them at its edge; held pixels held."""
    p, depth = original.stored.pixels[:, :, 0].astype(np.int64), original.stored.depth
    reach = depth.levels(eps)
    rng = np.random.default_rng(seed)
    step = np.where(
        rng.random(p.shape) < 0.6, rng.choice([-reach, reach], p.shape), rng.integers(-reach, reach + 1, p.shape)
    )
    q = np.clip(p + step, 0, depth.top)
    return (np.where((p == 0) | (p == depth.top), p, q) if depth.held else q).astype(np.int32)


def edges(dataset: Dataset) -> tuple[float, float]:
    """The modality values shown black and white, from the tags (PS3.3, C.11.2.1.2)."""

    def first(value):
        return float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)

    centre, width = first(dataset.WindowCenter), first(dataset.WindowWidth)
    if dataset.get("VOILUTFunction") == "LINEAR_EXACT":
        return centre - width / 2, centre + width / 2
    return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2


@pytest.mark.parametrize("kind", LINEAR)
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), n=st.sampled_from([1, 2, 4, 8]))
def test_of_a_linear_display_the_tags_themselves_bound_the_change(originals, kind, seed, n, tmp_path):
    path, original = originals[kind]
    eps, asked = n / 255, pushed(original, n / 255, seed)
    written = write_dicom(tmp_path / "x.dcm", asked, original=original, told=TOLD, whose=WHOSE, eps=eps)
    before, after = pydicom.dcmread(path), pydicom.dcmread(written.path)
    s, t = before.pixel_array.astype(int), after.pixel_array.astype(int)
    slope, intercept = float(before.get("RescaleSlope", 1)), float(before.get("RescaleIntercept", 0))
    if "WindowWidth" in before:
        black, white = edges(before)
        assert abs(t - s).max() <= math.floor(eps * (white - black) / abs(slope) + 1e-6)
        values = slope * s + intercept
        beyond = (values < black) | (values > white)
        assert (s[beyond] == t[beyond]).all()
        assert beyond.any() == original.stored.depth.held
    else:
        assert abs(t - s).max() <= math.floor(eps * (255 if s.max() < 256 else s.max() - s.min()) + 1e-6)
    assert (read_dicom(written.path).stored.pixels[:, :, 0] == asked).all()
    found = measure_again(written.path, original, eps, asked=asked)
    assert (found.within, found.differs, found.changed_outside_window, found.shown_alike) == (True, 0, 0, True)
    assert found.linf_levels == abs(asked - original.stored.pixels[:, :, 0].astype(int)).max() == abs(t - s).max()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in LINEAR])
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), n=st.sampled_from([1, 2, 4, 8]))
def test_of_other_displays_no_pixel_leaves_its_bound(originals, kind, seed, n, tmp_path):
    path, original = originals[kind]
    eps, asked = n / 255, pushed(original, n / 255, seed)
    written = write_dicom(tmp_path / "x.dcm", asked, original=original, told=TOLD, whose=WHOSE, eps=eps)
    found = measure_again(written.path, original, eps, asked=asked)
    assert found.within
    assert found.shown_alike
    assert found.display_linf <= eps + 1e-6
    s, t = (pydicom.dcmread(p).pixel_array.astype(int) for p in (path, written.path))
    assert (s != t).mean() > 0.05
    if kind == "sigmoid":
        show = [1 / (1 + np.exp(-4 * (x - 2000) / 900)) for x in (s, t)]
    elif kind == "modality table":
        show = [(x**2 // 256) / (4095**2 // 256) for x in (s, t)]
    else:
        first = {"signed table": -1300 + 1024}.get(kind, 1100)
        show = [CURVE[np.clip(x - first, 0, 599)] / 4095 for x in (s, t)]
        beyond = (s < first) | (s > first + 599)
        assert (s[beyond] == t[beyond]).all()
    assert abs(show[0] - show[1]).max() <= eps + 2e-9


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("burnt", [False, True])
def test_nothing_of_the_person_is_written_and_the_technique_stays(kind, burnt, originals, tmp_path):
    path, original = originals[kind]
    if burnt:
        big = np.tile(KINDS[kind][0], (8, 8))
        original = source(path := tmp_path / "big.dcm", big, **KINDS[kind][1])
    asked = pushed(original, 4 / 255, 5)
    written = write_dicom(
        tmp_path / "x.dcm", asked, original=original, told=TOLD, whose=WHOSE, eps=4 / 255, burnt=burnt
    )
    content = written.path.read_bytes()
    for secret in (*SECRETS.values(), "Hedwig", "private of", "MAKER PRIVATE", "077Y"):
        assert secret.encode() in path.read_bytes()
        assert secret.encode() not in content
    before, after = pydicom.dcmread(path), pydicom.dcmread(written.path)
    assert after.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert content[:128] == bytes(128)
    assert not any(e.tag.is_private or (e.VR in ("DA", "TM", "DT") and e.value) for e in after.iterall())
    uids = [after.SOPInstanceUID, after.SeriesInstanceUID, after.StudyInstanceUID]
    assert all(uid.startswith("2.25.") and uid.is_valid for uid in uids)
    assert len({*uids}) == 3
    for keyword in ("PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation", "Modality"):
        assert after[keyword].value == before[keyword].value
    for keyword in ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction"):
        if keyword in before:
            assert after[keyword].value == before[keyword].value
    assert after.PatientName == "RADPROOF^TEST"
    assert after.PatientIdentityRemoved == "YES"
    assert list(after.ImageType) == ["DERIVED", "SECONDARY"]
    assert "not for diagnosis" in after.DerivationDescription
    assert after.SOPClassUID == (SC if before.SOPClassUID == CT else CR)
    again = write_dicom(tmp_path / "y.dcm", asked, original=original, told=TOLD, whose=WHOSE, eps=4 / 255, burnt=burnt)
    assert again.path.read_bytes() == content
    if not burnt:
        assert "BurnedInAnnotation" not in after  # the source does not say
        return
    assert after.BurnedInAnnotation == "YES"
    assert str(written.box) in after.DerivationDescription
    found = read_dicom(written.path).stored
    text = found.pixels[:, :, 0][written.box.slices].astype(float) / found.top
    assert set(np.unique(np.round(text, 2))) <= {0.0, 0.01, 0.02, 0.98, 0.99, 1.0}  # a sigmoid never quite ends
    measured = measure_again(written.path, original, 4 / 255, asked=asked, box=written.box)
    assert measured.within
    assert not measure_again(written.path, original, 4 / 255, asked=asked).within


def test_a_level_too_many_or_a_touched_value_outside_the_window_is_found(originals, tmp_path):
    _, original = originals["signed"]
    asked = pushed(original, 4 / 255, 1)
    written = write_dicom(tmp_path / "x.dcm", asked, original=original, told=TOLD, whose=WHOSE, eps=4 / 255)
    d = pydicom.dcmread(written.path)
    values = d.pixel_array.copy()
    s = original.raw
    (row, column) = np.argwhere(s < original.display.low - 50)[0]
    values[row, column] += 1
    d.PixelData = values.tobytes()
    d.save_as(tmp_path / "touched.dcm")
    touched = measure_again(tmp_path / "touched.dcm", original, 4 / 255)
    assert (touched.changed_outside_window, touched.within, touched.linf_levels <= 6) == (1, False, True)
    values[row, column] -= 1
    free = (s > original.display.low + 50) & (s < original.display.high - 50)
    (row, column) = np.argwhere(free)[0]
    values[row, column] = s[row, column] + 7  # E = floor(4/255 * 399) = 6
    d.PixelData = values.tobytes()
    d.save_as(tmp_path / "more.dcm")
    assert (more := measure_again(tmp_path / "more.dcm", original, 4 / 255)).linf_levels == 7
    assert not more.within
    d.WindowWidth = 500
    d.save_as(tmp_path / "window.dcm")
    assert not measure_again(tmp_path / "window.dcm", original, None).shown_alike


def test_a_lossy_past_is_never_forgotten(tmp_path):
    tags = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": 10,
        "LossyImageCompressionMethod": "ISO_10918_1",
    }
    original = source(tmp_path / "s.dcm", noise("u1", 0, 255), **tags)
    written = write_dicom(tmp_path / "x.dcm", original.raw, original=original, told=TOLD, whose=WHOSE)
    after = pydicom.dcmread(written.path)
    assert [after[keyword].value for keyword in tags] == ["01", 10, "ISO_10918_1"]


def test_digital_x_ray_stays_only_where_its_source_told_enough(tmp_path):
    tags: dict[str, object] = {
        "SOPClassUID": DX,
        "Modality": "DX",
        "PresentationLUTShape": "IDENTITY",
        "ImageLaterality": "U",
        "PatientOrientation": ["L", "F"],
        "PixelIntensityRelationship": "LOG",
        "PixelIntensityRelationshipSign": -1,
        "ImagerPixelSpacing": [0.139, 0.139],
        "BurnedInAnnotation": "NO",
        "BodyPartExamined": "CHEST",
    }
    original = source(tmp_path / "s.dcm", noise("u1", 0, 255), **tags)
    after = pydicom.dcmread(
        write_dicom(tmp_path / "x.dcm", original.raw, original=original, told=TOLD, whose=WHOSE).path
    )
    assert after.SOPClassUID == DX
    assert list(after.ImageType) == ["DERIVED", "SECONDARY", ""]
    for keyword in set(tags) - {"SOPClassUID"}:
        assert after[keyword].value == tags[keyword]
    for keyword in ("PixelIntensityRelationship", "ImageLaterality", "BurnedInAnnotation", "ImagerPixelSpacing"):
        less = source(tmp_path / "l.dcm", noise("u1", 0, 255), **{k: v for k, v in tags.items() if k != keyword})
        file = write_dicom(tmp_path / "y.dcm", less.raw, original=less, told=TOLD, whose=WHOSE).path
        assert pydicom.dcmread(file).SOPClassUID == SC


def test_colour_and_another_size_are_refused_and_leave_no_file(originals, tmp_path):
    _, original = originals["8 bit"]
    with pytest.raises(BadInput, match="colour"):
        colour = replace(original, raw=np.zeros((33, 27, 3), np.int32))
        write_dicom(tmp_path / "x.dcm", original.raw, original=colour, told=TOLD, whose=WHOSE)
    with pytest.raises(BadInput, match="26x33 pixels"):
        write_dicom(tmp_path / "x.dcm", original.raw[:, 1:], original=original, told=TOLD, whose=WHOSE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("n", [1, 8])
def test_real_files_hold_their_budget(shared, n, tmp_path):
    files = sorted((shared / "data" / "dicom").glob("*.dcm"))
    assert len(files) >= 4
    for file in files:
        original = read_dicom(file)
        asked = pushed(original, n / 255, n)
        written = write_dicom(tmp_path / "x.dcm", asked, original=original, told=TOLD, whose=WHOSE, eps=n / 255)
        found = measure_again(written.path, original, n / 255, asked=asked)
        assert (found.within, found.differs) == (True, 0)
        assert found.linf_levels == found.linf_stored == {255: n, 29999: n * 29999 // 255}[original.stored.top]
        content, secret = written.path.read_bytes(), pydicom.dcmread(file, stop_before_pixels=True)
        for keyword in ("PatientName", "PatientID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            assert str(secret[keyword].value).encode() not in content
        assert pydicom.dcmread(written.path).get("LossyImageCompression") == secret.get("LossyImageCompression")


def test_a_pixel_outside_the_window_that_was_asked_to_move_is_told(tmp_path):
    """The file keeps the original's value there, so it does not show the image that was scored."""
    stored = np.arange(1024, dtype="<u2").reshape(32, 32)
    original = source(tmp_path / "in.dcm", stored, WindowCenter=500, WindowWidth=201)
    asked = original.stored.pixels[:, :, 0].astype(np.int32)
    asked[0, 0] += 1
    written = write_dicom(tmp_path / "x.dcm", asked, original=original, told=TOLD, whose=WHOSE, eps=4 / 255)
    found = measure_again(written.path, original, 4 / 255, asked=asked)
    assert (found.changed_outside_window, found.linf_levels, found.differs, found.misses) == (0, 0, 1, 1)
    assert not found.within
