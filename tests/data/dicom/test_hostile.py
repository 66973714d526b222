"""Hostile and damaged files: each is a BadImage with a sentence, before anything large is built from it."""

import contextlib
import struct
import subprocess
import sys
import textwrap
import tracemalloc
import zlib

import numpy as np
import pytest
from pydicom.pixels import get_encoder
from pydicom.uid import UID

from radproof.core.guard import Limits, guarded
from radproof.data.dicom.opened import inflate
from radproof.data.dicom.read import image_of, read_dicom
from radproof.errors import BadImage

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)
DEFLATED = "1.2.840.10008.1.2.1.99"
J2K, RLE, JPEG = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50"
MIB = 2**20


def refused(path, words, **how):
    with pytest.raises(BadImage, match=words) as caught:
        read_dicom(path, **how)
    assert caught.value.__cause__ is None
    assert len(str(caught.value)) < 700


def outside(code, path, megabytes=6000):
    """Run `code` on `path` by itself, with so much address space; how it ended and its peak in MiB."""
    whole = f"""
        import resource, sys, warnings
        warnings.simplefilter("ignore")
        resource.setrlimit(resource.RLIMIT_AS, ({megabytes} << 20, {megabytes} << 20))
        path = sys.argv[1]
        peak = lambda: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
        import pydicom
        before = peak()
        try:
            {code}
            print("done", end=" ")
        except BaseException as error:
            print(type(error).__name__, end=" ")
        print((peak() - before) // 1024)
    """
    made = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(whole), str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    how, peak = made.stdout.split()[-2:]
    return how, int(peak)


def raw_file(body, syntax="1.2.840.10008.1.2.1", preamble=bytes(128)):
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(uid)) + uid
    length = b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<L", len(meta))
    return preamble + b"DICM" + length + meta + body


def element(group, number, vr, value, length=None):
    length = len(value) if length is None else length
    head = struct.pack("<HH2s", group, number, vr)
    wide = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    return head + (struct.pack("<HL", 0, length) if wide else struct.pack("<H", length)) + value


def plain(tmp_path, dicom, cut=None, name="plain.dcm"):
    data = dicom(PIXELS).read_bytes()
    path = tmp_path / name
    path.write_bytes(data if cut is None else data[:cut])
    return path


# --- bombs ---------------------------------------------------------------------------------------------------------


def bomb(path, megabytes, making):
    """A deflated data set whose private element is so large, before an image of 8 x 8."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = engine.compress(element(0x0009, 0x1001, b"OB", b"", megabytes * MIB)) + engine.flush(zlib.Z_FULL_FLUSH)
    again = engine.compress(bytes(MIB)) + engine.flush(zlib.Z_FULL_FLUSH)
    packed += again * megabytes + engine.flush()
    path.write_bytes(raw_file(packed, DEFLATED))
    return path


def test_a_deflated_bomb_takes_gigabytes_outside_and_is_refused_here(tmp_path, making):
    path = bomb(tmp_path / "bomb.dcm", 600, making)
    assert path.stat().st_size < MIB
    _, peak = outside("pydicom.dcmread(path)", path)
    assert peak > 1000  # MiB from a file of 600 KB
    refused(path, "grows beyond 512 MiB")


def test_inflation_ends_at_its_limit(tmp_path):
    path = tmp_path / "z"
    path.write_bytes(zlib.compress(bytes(5 * MIB), 9)[2:-4])
    with path.open("rb") as stream, pytest.raises(BadImage, match="grows beyond 4 MiB"):
        inflate(stream, 4 * MIB)
    with path.open("rb") as stream:
        assert inflate(stream, 5 * MIB).getvalue() == bytes(5 * MIB)
    path.write_bytes(path.read_bytes()[:-10])
    with path.open("rb") as stream, pytest.raises(BadImage, match="has no end"):
        inflate(stream, 5 * MIB)
    path.write_bytes(b"\xff" * 99)
    with path.open("rb") as stream, pytest.raises(BadImage, match="deflated data set is damaged"):
        inflate(stream, 5 * MIB)


def test_millions_of_empty_items_are_never_built(tmp_path):
    """8 bytes in the file are over a kilobyte in memory: 2 million of them fill any machine."""
    items = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    body = element(0x0009, 0x1001, b"SQ", items * 60_000 + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0), 0xFFFFFFFF)
    path = tmp_path / "items.dcm"
    path.write_bytes(raw_file(body))
    _, peak = outside("pydicom.dcmread(path, specific_tags=['Rows'], stop_before_pixels=True)", path)
    assert peak > 30  # MiB from half a MiB
    tracemalloc.start()
    refused(path, "holds no image")
    assert tracemalloc.get_traced_memory()[1] < MIB
    tracemalloc.stop()
    needed = struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 600_000
    path.write_bytes(raw_file(element(0x0028, 0x3010, b"SQ", needed)))
    refused(path, r"element \(0028,3010\) is 4,800,012 bytes long")


@pytest.mark.parametrize("side", [65535, 9000])
def test_an_image_larger_than_its_data(dicom, side):
    path = dicom(PIXELS, Rows=side, Columns=side)
    refused(path, "more than the limit of 64,000,000")
    refused(dicom(PIXELS, Rows=7000, Columns=7000), r"announces 7000x7000 pixels in 1 frames \(49,000,000 bytes\)")
    refused(dicom(PIXELS, NumberOfFrames=90000), r"in 90000 frames")


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"Rows": 0}, "Rows must be a whole number in 1..65535; it is 0"),
        ({"Columns": 0}, "Columns must be"),
        ({"NumberOfFrames": "-1"}, "NumberOfFrames must be a whole number in 1..100000; it is -1"),
        ({"NumberOfFrames": "2147483647"}, "NumberOfFrames must be"),
        ({"BitsStored": 12}, r"BitsStored must be a whole number in 1..8; it is 12"),
        ({"BitsStored": 0}, "BitsStored must be"),
        ({"HighBit": 3}, "HighBit must be a whole number in 7..7"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "BitsAllocated is 1; 8, 16 and 32 are supported"),
        ({"SamplesPerPixel": 2}, "SamplesPerPixel is 2; MONOCHROME2 has 1"),
        ({"PixelRepresentation": 2}, "PixelRepresentation must be"),
        ({"PhotometricInterpretation": "CMYK"}, "PhotometricInterpretation must be one of"),
        ({"PhotometricInterpretation": "RGB"}, "SamplesPerPixel is 1; RGB has 3"),
    ],
)
def test_headers_that_cannot_be(dicom, about, words):
    refused(dicom(PIXELS, **about), words)


@pytest.mark.parametrize(
    "keyword", ["Rows", "Columns", "BitsAllocated", "PixelRepresentation", "PhotometricInterpretation"]
)
def test_headers_that_lack_what_is_needed(dicom, making, tmp_path, keyword):
    ds = making.data_set(PIXELS)
    delattr(ds, keyword)
    refused(making.write(tmp_path / "lack.dcm", ds), f"{keyword} must be .*absent")


def test_colour_of_sixteen_bits_and_floats(dicom, making, tmp_path):
    refused(dicom(np.zeros((4, 4, 3), np.uint16), colour="RGB"), "colour is supported with 8 bits")
    ds = making.data_set(np.zeros((8, 8), np.uint32))
    del ds.PixelData
    ds.FloatPixelData = bytes(256)
    refused(making.write(tmp_path / "float.dcm", ds), "floating-point pixels")


# --- compressed frames --------------------------------------------------------------------------------------------


def j2k(pixels):
    about = {"rows": pixels.shape[0], "columns": pixels.shape[1], "samples_per_pixel": 1, "number_of_frames": 1}
    about |= {
        "bits_allocated": 8,
        "bits_stored": 8,
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2",
    }
    return get_encoder(UID(J2K)).encode(pixels, encoding_plugin="pylibjpeg", **about)


def test_codestreams_that_announce_another_image(dicom, making):
    big = np.zeros((64, 64), np.uint8)
    stream = bytearray(j2k(big))
    refused(
        dicom(PIXELS, syntax=J2K, codestreams=[bytes(stream)]),
        "announces 8x8 pixels of 1 samples, the compressed frame 64x64",
    )
    at = stream.index(b"\xff\x51") + 6
    forged = (
        stream[:at]
        + struct.pack(">LL", 60000, 60000)
        + stream[at + 8 : at + 16]
        + struct.pack(">LL", 60000, 60000)
        + stream[at + 24 :]
    )
    refused(dicom(big, syntax=J2K, codestreams=[bytes(forged)]), "compressed frame 60000x60000")
    tiny = bytearray(stream)
    tiny[at + 16 : at + 24] = struct.pack(">LL", 0, 5)
    refused(dicom(big, syntax=J2K, codestreams=[bytes(tiny)]), "empty image or empty tiles")
    many = np.zeros((512, 512), np.uint8)
    stream = bytearray(j2k(many))
    stream[at + 16 : at + 24] = struct.pack(">LL", 1, 1)
    refused(dicom(many, syntax=J2K, codestreams=[bytes(stream)]), "262,144 tiles")
    picture = making.jpeg(big)
    refused(dicom(PIXELS, syntax=JPEG, codestreams=[picture]), "compressed frame 64x64 of 1")
    refused(dicom(big, syntax=JPEG, codestreams=[making.jpeg(np.zeros((64, 64, 3), np.uint8))]), "64x64 of 3")
    start = picture.index(b"\xff\xc0")
    forged = picture[: start + 5] + struct.pack(">HH", 65500, 65500) + picture[start + 9 :]
    refused(dicom(big, syntax=JPEG, codestreams=[forged]), "compressed frame 65500x65500")


def test_frames_that_are_no_codestream(dicom, making):
    refused(dicom(PIXELS, syntax=J2K, codestreams=[b"nothing at all  "]), "does not begin as JPEG 2000")
    refused(dicom(PIXELS, syntax=JPEG, codestreams=[b"nothing at all  "]), "does not begin as JPEG;")
    refused(dicom(PIXELS, syntax=JPEG, codestreams=[b"\xff\xd8\xff\xd9"]), "no frame header|ends within its header")
    refused(
        dicom(PIXELS, syntax=RLE, codestreams=[struct.pack("<16L", 9, *[64] * 15)]), "RLE frame has 9 segments where 1"
    )
    refused(dicom(PIXELS, syntax=RLE, codestreams=[struct.pack("<16L", 1, 9999, *[0] * 14)]), "lie outside it")
    refused(dicom(PIXELS, syntax=RLE, codestreams=[b"abc "]), "ends within its header")
    short = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x03abcd"
    refused(dicom(PIXELS, syntax=RLE, codestreams=[short + b"\0" * (len(short) % 2)]), "pixels cannot be decoded")
    cut = making.jpeg(np.zeros((64, 64), np.uint8))
    refused(dicom(PIXELS, syntax=JPEG, codestreams=[]), "compressed pixel data are empty")
    refused(dicom(PIXELS, syntax="1.2.840.10008.1.2.4.70", codestreams=[cut[:200]]), "8x8|no frame header")


def test_syntax_and_pixels_must_agree(dicom, making, tmp_path):
    ds = making.data_set(PIXELS)
    path = making.write(tmp_path / "x.dcm", ds, J2K, [j2k(np.zeros((64, 64), np.uint8))])
    data = path.read_bytes()
    wrong = data.replace(J2K.encode(), b"1.2.840.10008.1.2.1".ljust(len(J2K), b"\0"))
    path.write_bytes(wrong)
    refused(path, "is plain, but the pixels come in fragments")
    path.write_bytes(dicom(PIXELS).read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"))
    refused(path, "packs pixels in fragments, but the file holds plain ones")
    path.write_bytes(dicom(PIXELS).read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0"))
    refused(path, r"transfer syntax 1.2.840.99999.1.2.1 is not read; convert")


# --- structure ----------------------------------------------------------------------------------------------------


def test_what_is_no_dicom_file(tmp_path, dicom):
    path = tmp_path / "a.dcm"
    refused(path, "there is no such file")
    for data, words in (
        (b"", r"empty \(0 bytes\)"),
        (b"hello", "no DICOM file"),
        (bytes(500), "no DICOM file"),
        (b"PK\x03\x04" + bytes(500), "no DICOM file"),
        (b"\x1f\x8b" + bytes(500), "no DICOM file"),
        (bytes(128) + b"DICM", "first 132 bytes and holds no image"),
        (raw_file(b""), "behind its meta information and holds no image"),
        (raw_file(element(8, 0x60, b"CS", b"CR")), "holds no image"),
        (b"\x08\x00\x05\x00CS" + bytes(99), "."),
    ):
        path.write_bytes(data)
        refused(path, words)
    with pytest.raises(BadImage):
        image_of(path)


def test_every_truncation_is_a_sentence(dicom, tmp_path):
    whole = len(dicom(PIXELS).read_bytes())
    for cut in range(1, whole, 7):
        with pytest.raises(BadImage) as caught:
            read_dicom(plain(tmp_path, dicom, cut))
        assert "Error)" not in str(caught.value), (cut, caught.value)


@pytest.mark.parametrize(
    ("magic", "name"),
    [
        (b"MZ\x90\0", "Windows program"),
        (b"\x7fELF", "Linux program"),
        (b"II*\0", "TIFF image"),
        (b"%PDF-1.7", "PDF document"),
        (b"#!/bin/sh\n", "script"),
        (b"PK\x03\x04", "zip archive"),
        (b"\x1f\x8b\x08", "gzip archive"),
        (b"\xcf\xfa\xed\xfe", "macOS program"),
        (b"\xce\xfa\xed\xfe", "macOS program"),
        (b"\xca\xfe\xba\xbe", "Java or macOS program"),
        (b"MM\0*", "TIFF image"),
        (b"II+\0", "TIFF image"),
        (b"MM\0+", "TIFF image"),
        (b"GIF89a", "GIF image"),
        (b"<?xml version='1.0'?>", "web page or XML"),
        (b"\n \t<svg onload=", "web page or XML"),
        (b"anything %pdf-1.4", "document or web page"),
        (b"GAB<ScRiPt>alert(1)</script>", "document or web page"),
    ],
)
def test_files_with_two_faces(dicom, tmp_path, magic, name):
    path = plain(tmp_path, dicom)
    data = path.read_bytes()
    path.write_bytes(magic + data[len(magic) :])
    refused(path, f"{name}: a file with two faces")
    path.write_bytes(b"harmless" + data[8:])
    assert (read_dicom(path).raw == PIXELS).all()


def test_a_shell_script_that_is_a_dicom_file_runs_outside(dicom, tmp_path):
    """The damage: the same bytes are an image to one program and a program to another."""
    path = plain(tmp_path, dicom)
    trick = b"#!/bin/sh\necho pwned > out; exit\n"
    path.write_bytes(trick + path.read_bytes()[len(trick) :])
    path.chmod(0o755)
    subprocess.run(["sh", str(path)], cwd=tmp_path, check=True)
    assert (tmp_path / "out").read_text() == "pwned\n"
    refused(path, "a script: a file with two faces")


def nested(depth, close=True):
    """Sequences of undefined length inside each other, in front of a whole image."""
    opening = element(0x0040, 0x0275, b"SQ", struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF), 0xFFFFFFFF)
    closing = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return opening * depth + closing * depth * close


def test_sequences_ten_thousand_deep(dicom, tmp_path):
    path = tmp_path / "deep.dcm"
    path.write_bytes(raw_file(nested(10_000)))
    how, _ = outside("pydicom.dcmread(path, specific_tags=['Rows'], stop_before_pixels=True)", path)
    assert how == "RecursionError"
    refused(path, "nested more than 32 deep")
    head, _, tail = dicom(PIXELS).read_bytes().partition(b"\x28\x00\x02\x00US")
    path.write_bytes(head + nested(20) + b"\x28\x00\x02\x00US" + tail)
    assert (read_dicom(path).raw == PIXELS).all()
    path.write_bytes(raw_file(nested(5, close=False)))
    refused(path, "ends in the middle of its header")


def test_needed_sequences_ten_thousand_deep_by_defined_lengths(dicom, making, tmp_path):
    inner = b""
    for _ in range(3000):
        inner = element(0x0028, 0x3010, b"SQ", struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner)
    head, mark, tail = dicom(PIXELS).read_bytes().partition(b"\xe0\x7f\x10\x00")
    path = tmp_path / "deep.dcm"
    path.write_bytes(head + inner + mark + tail)
    refused(path, "damaged")  # the table inside is none


def test_an_undefined_length_without_end(tmp_path):
    path = tmp_path / "u.dcm"
    body = element(0x0009, 0x1001, b"UN", bytes(1000), 0xFFFFFFFF)
    path.write_bytes(raw_file(body))
    refused(path, "undefined length has no end")
    path.write_bytes(raw_file(element(0x0009, 0x1001, b"OB", b"ab", 2**31)))
    refused(path, r"announces 2,147,483,648 bytes where 2 are left")


@pytest.mark.parametrize(
    "charset", [b"ISO_IR 192", b"KLINGON   ", b"\\ISO 2022 ", b"\xff\xfe      \0\0", b"GB18030\\GB"]
)
def test_odd_character_sets_are_harmless(dicom, tmp_path, charset):
    data = dicom(PIXELS, SpecificCharacterSet="ISO_IR 100", BodyPartExamined="CHEST", PatientID="7").read_bytes()
    path = tmp_path / "charset.dcm"
    path.write_bytes(data.replace(b"ISO_IR 100", charset))
    assert (read_dicom(path).raw == PIXELS).all()
    assert read_dicom(path).facts.body_part == "CHEST"


def test_wrong_value_representations(dicom, tmp_path):
    data = dicom(PIXELS, WindowCenter=5).read_bytes()
    path = tmp_path / "vr.dcm"
    rows = b"\x28\x00\x10\x00"
    for vr, words in (
        (b"DS", "Rows must be"),
        (b"FD", "Rows must be|damaged"),
        (b"SQ", "."),
        (b"ZZ", "Rows must be"),
        (b"PN", "Rows must be"),
    ):
        path.write_bytes(data.replace(rows + b"US", rows + vr))
        refused(path, words)


def test_private_creators_and_elements_are_walked_past(dicom, making, tmp_path):
    ds = making.data_set(PIXELS)
    block = ds.private_block(0x0029, "ACME ^Doe", create=True)
    block.add_new(1, "UN", b"\0" * 99 + b"x")
    block.add_new(2, "SQ", [making.data_set(PIXELS)])
    block.add_new(3, "OB", bytes(200_000))
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"):
        assert (read_dicom(making.write(tmp_path / "p.dcm", ds, syntax)).raw == PIXELS).all()


def test_bytes_at_random_never_end_in_anything_but_a_sentence(dicom, tmp_path):
    data = dicom(PIXELS, WindowCenter=30, WindowWidth=20, ViewPosition="PA", PixelPaddingValue=3).read_bytes()
    rng = np.random.default_rng(1)
    path = tmp_path / "fuzz.dcm"
    for _ in range(250):
        broken = bytearray(data)
        for at in rng.integers(128, len(data), 3):
            broken[at] = rng.integers(256)
        path.write_bytes(broken)
        with contextlib.suppress(BadImage):
            read_dicom(path)


# --- in the guard --------------------------------------------------------------------------------------------------

PROBE = """
from pathlib import Path
from radproof.data.dicom.read import read_dicom

def look(path):
    image = read_dicom(Path(path))
    return [*image.stored.pixels.shape, image.stored.top]
"""


@pytest.mark.slow
def test_a_real_image_and_a_bomb_in_the_guarded_child(tmp_path, dicom, making):
    (tmp_path / "probes").mkdir()
    (tmp_path / "probes" / "dicom_probe.py").write_text(PROBE)
    image = dicom(PIXELS)
    path = bomb(tmp_path / "bomb.dcm", 600, making)

    def look(file):
        return guarded(
            "dicom_probe:look",
            {"path": str(file)},
            read=[file],
            paths=[tmp_path / "probes"],
            limits=Limits(memory=2 * 2**30),
            blame=BadImage,
            what="the image",
        ).value

    assert look(image) == [8, 8, 1, 255]
    with pytest.raises(BadImage, match="decompression bomb"):
        look(path)
    assert look(image) == [8, 8, 1, 255]
