"""DICOM files made by hand, and the encoders that no library here has."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian

CR = "1.2.840.10008.5.1.4.1.1.1"


def data_set(pixels: np.ndarray, *, stored: int | None = None, colour: str = "MONOCHROME2", **elements) -> Dataset:
    """A small CR image: (H, W), or (F, H, W) with frames=True, or (H, W, 3)."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CR, "1.2.3.4"
    ds.Modality, ds.PatientID, ds.PatientName = "CR", "", ""
    many = elements.pop("frames", False)
    if many:
        ds.NumberOfFrames = pixels.shape[0]
    frame = pixels[0] if many else pixels
    ds.Rows, ds.Columns = frame.shape[:2]
    ds.SamplesPerPixel = 3 if frame.ndim == 3 else 1
    if frame.ndim == 3:
        ds.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    ds.BitsAllocated, ds.BitsStored = bits, stored or bits
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PhotometricInterpretation = colour
    data = pixels.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB" if bits == 8 else "OW"
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


def write(path: Path, ds: Dataset, syntax: str = ExplicitVRLittleEndian, frames: list[bytes] | None = None) -> Path:
    """`ds` as a file; `frames`: codestreams instead of its plain pixels."""
    syntax = UID(syntax)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    if frames is not None:
        ds.PixelData = encapsulate(frames)
        ds["PixelData"].is_undefined_length = True
        ds["PixelData"].VR = "OB"
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    return path


def jpeg(pixels: np.ndarray, **how) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", **({"quality": 95} | how))
    return stream.getvalue()


class Bits:
    """Bits into bytes; after 0xFF JPEG stuffs a zero byte, JPEG-LS a zero bit."""

    def __init__(self, *, jpeg_ls: bool = False):
        self.bytes, self.now, self.free, self.jpeg_ls = bytearray(), 0, 8, jpeg_ls

    def put(self, value: int, count: int) -> None:
        for place in range(count - 1, -1, -1):
            self.free -= 1
            self.now |= (value >> place & 1) << self.free
            if self.free == 0:
                self._flush()

    def _flush(self) -> None:
        self.bytes.append(self.now)
        full = self.now == 0xFF
        self.now, self.free = 0, 7 if full and self.jpeg_ls else 8
        if full and not self.jpeg_ls:
            self.bytes.append(0)

    def done(self) -> bytes:
        while self.free not in (8,) and not (self.jpeg_ls and self.free == 7 and self.bytes[-1:] == b"\xff"):
            self.put(0 if self.jpeg_ls else 1, 1)
        return bytes(self.bytes)


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _category(bits: Bits, difference: int) -> None:
    """Huffman code (5 bits for each category 0..16) and the extra bits of T.81, F.1.2.1."""
    size = abs(difference).bit_length()
    bits.put(size, 5)
    if 0 < size < 16:
        bits.put(difference if difference > 0 else difference + 2**size - 1, size)


def _huffman(table: int) -> bytes:
    counts = [0] * 16
    counts[4] = 17
    return _segment(0xC4, bytes([table, *counts, *range(17)]))


def lossless_jpeg(pixels: np.ndarray, precision: int, *, predictor: int = 1) -> bytes:
    """Process 14, one component: each pixel's difference to its left neighbour, the upper one at the left edge."""
    bits = Bits()
    values = pixels.astype(np.int64)
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            if x:
                guess = row[x - 1] if predictor == 1 or not y else values[y - 1, x]
            else:
                guess = values[y - 1, 0] if y else 2 ** (precision - 1)
            difference = int(value - guess + 32768) % 65536 - 32768
            _category(bits, 32768 if difference == -32768 else difference)
    rows, columns = pixels.shape
    return (
        b"\xff\xd8"
        + _huffman(0)
        + _segment(0xC3, struct.pack(">BHHBBBB", precision, rows, columns, 1, 1, 0x11, 0))
        + _segment(0xDA, bytes([1, 1, 0, predictor, 0, 0]))
        + bits.done()
        + b"\xff\xd9"
    )


def deep_jpeg(blocks: np.ndarray) -> bytes:
    """Process 4, 12 bits: every value of `blocks` becomes 8 x 8 equal pixels, exactly (a mean, no other frequency)."""
    bits, last = Bits(), 0
    for value in (blocks.astype(int).ravel() - 2048).tolist():
        size = abs(value - last).bit_length()
        bits.put(size, 5)
        difference = int(value - last)
        if size:
            bits.put(difference if difference > 0 else difference + 2**size - 1, size)
        bits.put(0, 1)  # end of block
        last = value
    ends = _segment(0xC4, bytes([0x10, 1, *[0] * 15, 0]))
    quantisation = _segment(0xDB, bytes([0, *[8] * 64]))
    rows, columns = (8 * side for side in blocks.shape)
    return (
        b"\xff\xd8"
        + quantisation
        + _huffman(0)
        + ends
        + _segment(0xC1, struct.pack(">BHHBBBB", 12, rows, columns, 1, 1, 0x11, 0))
        + _segment(0xDA, bytes([1, 1, 0, 0, 63, 0]))
        + bits.done()
        + b"\xff\xd9"
    )


@pytest.fixture
def dicom(tmp_path) -> Callable[..., Path]:
    """dicom(pixels, syntax=..., frames=..., name=..., **elements) writes a file."""

    def make(pixels, *, syntax=ExplicitVRLittleEndian, codestreams=None, name="x.dcm", **elements) -> Path:
        return write(tmp_path / name, data_set(np.asarray(pixels), **elements), syntax, codestreams)

    return make


@pytest.fixture(scope="session")
def making() -> SimpleNamespace:
    """The pieces, for tests that put files together themselves."""
    return SimpleNamespace(
        data_set=data_set, write=write, jpeg=jpeg, lossless_jpeg=lossless_jpeg, deep_jpeg=deep_jpeg, Bits=Bits
    )
