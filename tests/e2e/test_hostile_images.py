"""Hostile image files by the road that users take: what they do outside, and what is said of them here."""

import gzip
import io
import os
import shutil
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, RLELossless

from radproof.data.dicom.read import read_dicom
from radproof.data.images import decode_image, read_image
from radproof.errors import BadImage

pytestmark = pytest.mark.e2e
MB = 1_000_000


def dicom_file(path, image, *, uid=1, view="PA", frames=None, **elements):
    """An 8-bit CR image of nobody; `frames`: codestreams of RLE instead of its pixels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if frames is None else RLELossless
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{uid}"
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.PatientID, ds.ViewPosition, ds.Modality = str(uid // 2), view, "CR"
    ds.Rows, ds.Columns = image.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = image.tobytes() + b"\0" * (image.size % 2)
    if frames is not None:
        ds.PixelData = pydicom.encaps.encapsulate(frames)
        ds["PixelData"].is_undefined_length = True
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def grey(seed, shape=(24, 24)):
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


@pytest.fixture
def study(tmp_path):
    """20 frontal images of 10 patients in two folders."""
    root = tmp_path / "study"
    for n in range(20):
        dicom_file(root / "AB"[n % 4 // 2] / f"IM{n}", grey(n), uid=n)
    return root


@pytest.fixture
def refused(radproof, tmp_path):
    """The command's one line about a bad data set, of which nothing is left."""

    def run(path):
        out = tmp_path / "out"
        before = sorted(file for file in tmp_path.rglob("*"))
        code, printed, said = radproof("data", "import", path, "--out", out, "-q")
        assert (code, printed) == (2, ""), said
        assert said.startswith("radproof: ") and said.count("\n") == 1
        shutil.rmtree(out, ignore_errors=True)
        left = [file for file in tmp_path.rglob("*") if file not in before and not file.is_dir()]
        assert not [file for file in left if file.suffix in (".png", ".parquet", ".json")], left
        return said

    return run


def outside(code, path, **how):
    """What a plain program prints that opens the file."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import sys; path = sys.argv[1]\n{code}", str(path)],
        capture_output=True, text=True, timeout=60, check=False, **how,
    )  # fmt: skip
    return (done.stdout + done.stderr).strip()


def test_a_drawing_program_starts_another_program_outside(tmp_path):
    """Pillow hands EPS files, whatever they are called, to Ghostscript; such a file is asked for nothing here."""
    drawing = tmp_path / "x.png"
    drawing.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "gs"
    program.write_text("#!/bin/sh\necho ran > ran\n")
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    outside("from PIL import Image; Image.open(path).load()", drawing, cwd=tmp_path, env=environment)
    assert (tmp_path / "ran").read_text() == "ran\n"
    (tmp_path / "ran").unlink()
    code = "from pathlib import Path; from radproof.data.images import read_image; read_image(Path(path))"
    assert "none of PNG, JPEG, TIFF" in outside(code, drawing, cwd=tmp_path, env=environment)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["zip", "nested zip", "gzip", "zip called png", "gzip called png"])
def test_archives_are_no_images(refused, tmp_path, kind):
    stream = io.BytesIO()
    Image.fromarray(grey(1)).save(stream, "PNG")
    packed = gzip.compress(stream.getvalue())
    if "zip" in kind.split()[-1] or kind == "zip called png":
        inner = stream.getvalue()
        for _ in range(1 + kind.startswith("nested")):
            whole = io.BytesIO()
            with zipfile.ZipFile(whole, "w") as archive:
                archive.writestr("A/1.png", inner)
            inner = whole.getvalue()
        packed = packed if kind.startswith("gzip") else inner
    with pytest.raises(BadImage, match="none of PNG, JPEG, TIFF"):
        decode_image(packed)
    if kind.endswith("png"):
        return
    path = tmp_path / f"set.{'gz' if kind == 'gzip' else 'zip'}"
    path.write_bytes(packed)
    words = {"zip": "the archive holds a single file", "nested zip": "is an archive itself", "gzip": path.name}
    assert words[kind] in refused(path)


def test_a_stub_is_an_image_to_others(refused, study):
    """132 bytes, or a header alone: read without a complaint, and without an image."""
    stub = study / "A" / "stub.dcm"
    whole = (study / "A" / "IM0").read_bytes()
    stub.write_bytes(whole[:132])
    assert outside("import pydicom; print(len(pydicom.dcmread(path)))", stub) == "0"
    assert "A/stub.dcm: the file ends after its first 132 bytes" in refused(study)


def test_a_length_without_end_is_read_to_the_end_outside(refused, study):
    """What follows, the pixels among it, is swallowed by a private element."""
    path = study / "A" / "IM0"
    whole = path.read_bytes()
    opening = struct.pack("<HH2sHL", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF)
    at = whole.index(b"\x10\x00\x20\x00LO")
    path.write_bytes(whole[:at] + opening + whole[at:])
    told = outside("import pydicom; print('PixelData' in pydicom.dcmread(path, force=True))", path)
    assert told != "True"
    assert "A/IM0: a sequence of undefined length has no end" in refused(study)


def test_a_large_image_of_a_few_bytes_takes_memory_outside(refused, study):
    """65535 x 65535 pixels, of which 66 bytes are there."""
    rle = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\x00"
    path = dicom_file(study / "A" / "IM0", grey(0), frames=[rle], Rows=65535, Columns=65535)
    cap = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
    assert "MemoryError" in outside(cap + "import pydicom; pydicom.dcmread(path).pixel_array", path)
    assert "A/IM0: the header announces 65535x65535 pixels, more than the limit" in refused(study)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"Rows": 0}, "Rows must be a whole number in 1..65535; it is 0"),
        # The reader itself is asked about each of these in tests/data/dicom.
        pytest.param({"NumberOfFrames": "-3"}, "NumberOfFrames must be", marks=pytest.mark.slow),
        pytest.param({"SamplesPerPixel": 2}, "SamplesPerPixel is 2", marks=pytest.mark.slow),
        pytest.param({"BitsStored": 12}, "BitsStored must be", marks=pytest.mark.slow),
        ({"RescaleSlope": "0", "RescaleIntercept": "0"}, "RescaleSlope is 0"),
    ],
)
def test_headers_that_cannot_be_by_the_command(refused, study, elements, words):
    dicom_file(study / "B" / "IM2", grey(2), uid=2, **elements)
    said = refused(study)
    assert f"B/IM2: {words}" in said
    assert "3680043" not in said


def test_what_hangs_behind_the_pixels_does_not_come_along(tmp_path):
    """An archive at the end of a DICOM file or a PNG is one to unzip, and nothing here."""
    hidden = io.BytesIO()
    with zipfile.ZipFile(hidden, "w") as archive:
        archive.writestr("payload.txt", "payload")
    image = grey(5)
    picture, film = tmp_path / "x.png", dicom_file(tmp_path / "x.dcm", image)
    Image.fromarray(image).save(picture)
    for path in (picture, film):
        path.write_bytes(path.read_bytes() + hidden.getvalue())
        assert zipfile.ZipFile(path).read("payload.txt") == b"payload"
    assert (read_image(picture).pixels[:, :, 0] == image).all()
    found = read_dicom(film)
    assert (found.raw == image).all()
    assert "payload" not in str(found.sidecar())


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (5, 9)])
@pytest.mark.parametrize("value", [0, 7, 255])
def test_small_narrow_and_constant_films_are_images(tmp_path, shape, value):
    found = read_dicom(dicom_file(tmp_path / "x.dcm", np.full(shape, value, np.uint8)))
    assert found.stored.pixels.shape == (*shape, 1)
    assert (found.stored.pixels == value).all() and found.stored.top == 255


def test_a_lateral_view_among_frontal_ones_is_kept_and_named(radproof, study, tmp_path):
    """It is an image like others; the report gives figures per view."""
    from radproof.data.manifest import Manifest

    dicom_file(study / "A" / "side", grey(99), uid=99, view="LL")
    code, _, said = radproof("data", "import", study, "--out", tmp_path / "out", "-q")
    assert code == 0, said
    manifest = Manifest.read(tmp_path / "out")
    assert sorted({sample.view for sample in manifest.samples}) == ["LL", "PA"]
    assert [sample.labels for sample in manifest.samples if sample.view != "PA"] == [("A",)]
