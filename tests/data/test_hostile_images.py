"""Files that fill the memory: each first does its damage in a throw-away process with a cap, then meets our readers.

The cap leaves 120 MB beyond what the interpreter holds; every bomb asks for 200 MB or more.
"""

import gzip
import io
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from radproof.core.guard import guarded
from radproof.core.guard_process import Limits
from radproof.data.images import FORMATS, decode_image, read_image
from radproof.errors import BadData, BadImage

MB = 1024**2
_CAPPED = """
import resource, sys
import gzip, tarfile, csv, io, threading, zlib, lzma, bz2
import numpy as np
import nibabel
from pathlib import Path
from PIL import Image
from radproof.data import images, labels, medmnist, unpack, volumes
from radproof.errors import BadInput
with Image.open("small.png", formats=images.FORMATS) as small:
    small.load()
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 120 * 1024**2,) * 2)
for line in sys.stdin:
    name, code = line.rstrip().split(" ", 1)
    path = Path(name)
    try:
        exec(code)
        print("fine")
    except MemoryError:
        print("MemoryError")
    except BadInput as error:
        print(type(error).__name__, error)
"""


def png_of(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return start + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")


def jpeg_of(width, height):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG")
    content = bytearray(stream.getvalue())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def npz_of(size):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (size // MB, 1024, 1024)}
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("train_images.npy", "w", force_zip64=True) as member:
            member.write(header.getvalue())
            for _ in range(size // MB):
                member.write(bytes(MB))
        archive.writestr("train_labels.npy", b"")
    return stream.getvalue()


def zeros(size):
    """Packed: a gzip file may have many parts."""
    return gzip.compress(bytes(8 * MB), 9) * (size // (8 * MB))


def pax_of(size):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, size
    return gzip.compress(info.tobuf()) + zeros(size)


def nifti_of(depth):
    """A header that tells the truth: 1024 x 1024 x depth bytes, all of them zero."""
    header = bytearray(352)
    header[0:4] = struct.pack("<i", 348)
    header[40:56] = struct.pack("<8h", 3, 1024, 1024, depth, 1, 1, 1, 1)
    header[70:74] = struct.pack("<2h", 2, 8)
    header[76:108] = struct.pack("<8f", *[1.0] * 8)
    header[108:112] = struct.pack("<f", 352)
    header[344:348] = b"n+1\0"
    return gzip.compress(bytes(header)) + zeros(depth * MB)


READ = "images.read_image(path)"
BOMBS = {  # what is in the file, who comes to harm, who reads it here, and the outcome
    "png": (lambda: png_of(13_000, 13_000), "Image.open(path).load()", READ, "BadImage .*decompression bomb"),
    "jpeg": (lambda: jpeg_of(13_000, 13_000), "Image.open(path).load()", READ, "BadImage .*decompression bomb"),
    "npz": (
        lambda: npz_of(200 * MB),
        "np.load(path)['train_images']",
        "medmnist.read_medmnist(path, Path('out'))",
        "BadData .*would swell",
    ),
    "tar": (
        lambda: pax_of(200 * MB),
        "tarfile.open(path).getmembers()",
        "unpack.unpack(path, Path('out'))",
        "BadData .*bytes of names",
    ),
    "nifti": (
        lambda: nifti_of(10) + zeros(200 * MB),
        "gzip.open(path).read()",
        "volumes.Volumes().plane(path, volumes.read_grid(path), 2, 0, 'minmax')",
        "fine",
    ),
    "csv": (
        lambda: b"path,label\n" + b"x" * 200 * MB,
        "list(csv.reader(path.open()))",
        "labels.read_labels(path)",
        "BadData .*has a line of over",
    ),
}


@pytest.fixture(scope="module")
def capped(tmp_path_factory):
    """What came of each bomb in one process under the cap: a line of the careless reader, a line of ours."""
    folder = tmp_path_factory.mktemp("bombs")
    Image.new("L", (2, 2)).save(folder / "small.png")
    for name, (content, *_) in BOMBS.items():
        (folder / name).write_bytes(content())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CAPPED],
        input="".join(f"{name} {code}\n" for name, (_, *codes, _) in BOMBS.items() for code in codes),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        cwd=folder,
        env={"PATH": "", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert {file.name for file in folder.iterdir()} == {*BOMBS, "small.png"}
    (folder / "csv").unlink()
    lines = done.stdout.splitlines()
    return dict(zip(BOMBS, zip(lines[::2], lines[1::2], strict=True), strict=True))


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_do_damage_elsewhere_and_none_here(capped, name):
    damage, answer = capped[name]
    assert damage == "MemoryError"
    assert re.match(BOMBS[name][-1], answer), answer


def test_what_no_check_can_see_ends_at_the_guard(tmp_path):
    """A volume of an allowed size that is too much for the memory granted: the child is stopped, we go on."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.nii.gz").write_bytes(nifti_of(480))
    (tmp_path / "labels.csv").write_text("id,label\na#0,x\na#1,y\n")
    with pytest.raises(BadData, match="memory"):
        guarded(
            "radproof.data.foreign:read",
            {
                "reader": "radproof.data.nifti:read_nifti",
                "path": str(tmp_path / "in"),
                "out": str(tmp_path / "out"),
                "how": {"labels": str(tmp_path / "labels.csv")},
            },
            read=[tmp_path / "in", tmp_path / "labels.csv"],
            write=[tmp_path / "out"],
            limits=Limits(memory=600 * MB),
            blame=BadData,
            what="the data set",
        )
    assert not (tmp_path / "out" / "manifest.parquet").exists()


@pytest.mark.parametrize(
    "kind", sorted({"BMP", "GIF", "PPM", "TGA", "PCX", "ICO", "WEBP", "SGI", "DDS", "EPS", "PDF", "MSP"})
)
def test_no_other_plug_in_of_pillow_is_asked(tmp_path, kind):
    assert kind not in FORMATS
    stream = io.BytesIO()
    Image.new("1" if kind == "MSP" else "RGB", (16, 16)).save(stream, kind)
    (tmp_path / "x.png").write_bytes(stream.getvalue())
    with pytest.raises(BadImage, match="none of PNG, JPEG, TIFF"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (3, 17)])
@pytest.mark.parametrize("value", [0, 7, 255])
def test_small_narrow_and_constant_images_are_images(tmp_path, shape, value):
    Image.fromarray(np.full(shape, value, np.uint8)).save(tmp_path / "x.png")
    stored = read_image(tmp_path / "x.png")
    assert stored.pixels.shape == (*shape, 1)
    assert (stored.pixels == value).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.5])
def test_floats_have_no_grid(tmp_path, value):
    Image.fromarray(np.full((4, 4), value, np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(BadImage, match="kind F"):
        read_image(tmp_path / "x.tif")


def test_content_in_memory_is_read_as_a_file_is(tmp_path):
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "x.png")
    content = (tmp_path / "x.png").read_bytes()
    assert (decode_image(content).pixels == read_image(tmp_path / "x.png").pixels).all()
    for damaged, says in (
        (b"", "empty"),
        (b"x", "none of PNG"),
        (content[:45], "damaged"),
        (png_of(9000, 9000), "bomb"),
    ):
        with pytest.raises(BadImage, match=says):
            decode_image(damaged)
