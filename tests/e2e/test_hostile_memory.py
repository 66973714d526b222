"""The largest bombs at their full size: the process that reads them, and we, stay below 2 GB of memory; watched.

Each asks for 3 GB or more. Outside the guard a process with 300 MB to spare runs out of memory on it.
"""

import gzip
import json
import os
import re
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from radproof.core.guard import Limits, guarded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
HERE = Path(__file__).parent
GB, MIB = 1_000_000_000, 2**20
SIZE = 3072  # MiB that a bomb unpacks to


def png(path, width, height, row):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    colour = 6 if row else 2
    packed = zlib.compress(row * height, 1) if row else zlib.compress(bytes(10_000))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", packed) + chunk(b"IEND", b""))


def blocks(start, size=SIZE):
    """`start` and so many MiB of zeros, deflated without a header: few bytes, made quickly."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = engine.compress(start) + engine.flush(zlib.Z_FULL_FLUSH)
    again = engine.compress(bytes(MIB)) + engine.flush(zlib.Z_FULL_FLUSH)
    return packed + again * size + engine.flush()


def dicom(path):
    syntax = b"1.2.840.10008.1.2.1.99"
    meta = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(syntax)) + syntax
    length = b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<L", len(meta))
    private = struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, SIZE * MIB)
    path.write_bytes(bytes(128) + b"DICM" + length + meta + blocks(private))


def npz(path):
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({SIZE}, 1024, 1024), }}".encode().ljust(117) + b"\n"
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
    packed, size, name = blocks(start), len(start) + SIZE * MIB, b"train_images.npy"
    common = struct.pack("<HHHHHLLLHH", 20, 0, 8, 0, 33, 0, len(packed), size, len(name), 0)
    local = b"PK\x03\x04" + common + name + packed
    central = b"PK\x01\x02\x14\x00" + common + struct.pack("<HHHLL", 0, 0, 0, 0, 0) + name
    path.write_bytes(
        local + central + struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, 1, 1, len(central), len(local), 0)
    )


def zeros():
    return gzip.compress(bytes(32 * MIB), 9) * (SIZE // 32)


def nifti(path, depth):
    header = bytearray(352)
    header[0:4] = struct.pack("<i", 348)
    header[40:56] = struct.pack("<8h", 3, 1024, 1024, depth, 1, 1, 1, 1)
    header[70:74] = struct.pack("<2h", 2, 8)
    header[76:108] = struct.pack("<8f", *[1.0] * 8)
    header[108:112] = struct.pack("<f", 352)
    header[344:348] = b"n+1\0"
    path.write_bytes(gzip.compress(bytes(header)) + zeros())


def line(path):
    """One line of 3 GB, of which the disk keeps nothing."""
    path.write_bytes(b"path,label\n")
    os.truncate(path, SIZE * MIB)


def keras(path):
    layers = [{"class_name": "Dense", "config": {"name": "d", "units": 2}, "module": "keras.layers"}]
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": layers}})
        file.create_dataset("model_weights/bomb", (10**6, 10**6), "float32", chunks=(1000, 1000))


def onnx(path, dims):
    """An initialiser of 4 TB without data, or a shape of 4 GB that is to be filled with ones."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [], b"\0\0\0\0", raw=True)
    nodes = [helper.make_node("Add", ["x", "w"], ["out"])]
    if dims:
        weight.dims.extend(dims)
    else:
        weight = helper.make_tensor("s", TensorProto.INT64, [1], [10**9])
        filled = [helper.make_node("ConstantOfShape", ["s"], ["c"]), helper.make_node("ReduceMax", ["c"], ["m"])]
        nodes = [*filled, helper.make_node("Add", ["x", "m"], ["out"])]
    one = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 4]) for name in ("x", "out")]
    graph = helper.make_graph(nodes, "g", one[:1], one[1:], [weight])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(made.SerializeToString())


IMPORTERS = "radproof.models.importers"
BOMBS = {  # how it is made, who reads it here, what that answers, and who comes to harm
    "png": (
        lambda path: png(path, 40_000, 40_000, b""),
        ["radproof.data.images:read_image"],
        "BadImage: .*decompression bomb",
        "from PIL import Image; Image.MAX_IMAGE_PIXELS = None; Image.open(path).load()",
    ),
    "the largest png within the limits": (
        lambda path: png(path, 8000, 8000, bytes(1 + 4 * 8000)),
        ["radproof.data.images:read_image"],
        "fine",
        None,
    ),
    "dicom": (
        dicom,
        ["radproof.data.dicom.read:read_dicom"],
        "BadImage: .*grows beyond 512 MiB",
        "import pydicom; pydicom.dcmread(path)",
    ),
    "npz": (
        npz,
        ["radproof.data.medmnist:read_medmnist", "{out}"],
        "BadData: .*would swell",
        "import numpy; numpy.load(path)['train_images']",
    ),
    "nii.gz": (
        lambda path: nifti(path, SIZE),
        ["hostile_reading:volume"],
        "BadImage: .*announces 3,221,225,472 bytes",
        "import gzip; gzip.open(path).read()",
    ),
    "nii.gz that hides it": (
        lambda path: nifti(path, 5),
        ["hostile_reading:volume"],
        "fine",  # five slices are read, and no more
        None,
    ),
    "a line": (
        line,
        ["radproof.data.labels:read_labels"],
        "BadData: .*has a line of over",
        "import csv; list(csv.reader(open(path)))",
    ),
    "keras": (
        keras,
        [f"{IMPORTERS}.keras:read_keras"],
        "BadModel: .*declares 4,000,000,000,000 bytes",
        "import h5py; h5py.File(path)['model_weights/bomb'][:]",
    ),
    "state dict": (
        lambda path: torch.save({"fc.weight": torch.ones(1).expand(10**9)}, path),
        [f"{IMPORTERS}.torch_files:declared", "torch-zip"],
        "BadModel: .*declares a tensor of shape",
        "import torch; torch.load(path, weights_only=True)['fc.weight'].clone()",
    ),
    "onnx": (
        lambda path: onnx(path, [10**6, 10**6]),
        [f"{IMPORTERS}.onnx:read_onnx"],
        "BadModel: .*should hold 1000000000000 values",
        None,  # onnxruntime refuses it too
    ),
    "onnx that fills": (
        lambda path: onnx(path, None),
        [f"{IMPORTERS}.onnx:read_onnx"],
        "BadModel: .*would make an array of 1000000000 values",
        "import onnxruntime as o; o.set_default_logger_severity(4); o.InferenceSession(path)"
        ".run(None, {'x': [[[[1.0] * 4] * 4] * 3]})",
    ),
}
CARELESS = """
import resource, sys
path = sys.argv[1]
{code_imports}
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 300_000_000,) * 2)
try:
    {code_does}
    print("fine")
except MemoryError:
    print("memory")
except Exception as error:
    print("memory" if "alloc" in str(error) or "emory" in str(error) else repr(error))
"""


def careless(code, path):
    """What comes of it in a throw-away process that may take 300 MB more."""
    first, _, rest = code.partition("; ")
    code = CARELESS.format(code_imports=first, code_does=rest)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", code, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment).stdout


class Watch(threading.Thread):
    """Looks at this process and all that it starts, until it is stopped; bytes."""

    def __init__(self):
        super().__init__(daemon=True)
        self.children, self.own, self.done = 0, 0, threading.Event()

    def run(self):
        while not self.done.wait(0.02):
            parents, peaks = {}, {}
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    told = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
                except (OSError, ValueError):
                    continue
                number = int(folder.name)
                parents[number] = int(told["PPid"])
                peaks[number] = [1024 * int(told.get(word, "0 kB").split()[0]) for word in ("VmHWM", "VmRSS")]
            self.own = max(self.own, peaks[os.getpid()][1])
            below = {os.getpid()}
            while found := {n for n, parent in parents.items() if parent in below} - below:
                below |= found
            self.children = max([self.children, *(peaks[n][0] for n in below - {os.getpid()})])

    def __enter__(self):
        self.start()
        while not self.own:
            time.sleep(0.01)
        self.before = self.own
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()


@pytest.fixture(scope="module")
def bombs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bombs")
    for name, (make, *_) in BOMBS.items():
        make(folder / name)
        assert (folder / name).stat().st_blocks * 512 < 8 * MIB
    return folder


@pytest.fixture(scope="module")
def read(bombs):
    """All in one guarded child of 2 GB."""
    out = bombs / "out"
    jobs = []
    for name, (_, (reader, *more), *_) in BOMBS.items():
        jobs.append([name, reader, str(bombs / name), *(one.format(out=out) for one in more)])
    with Watch() as watch:
        told = guarded(
            "hostile_reading:each",
            {"jobs": jobs},
            read=[bombs],
            write=[out],
            paths=[HERE],
            limits=Limits(memory=2 * GB),
        ).value
    assert list(out.iterdir()) == []
    return told, watch


@pytest.mark.parametrize("name", BOMBS)
def test_each_bomb_is_refused_below_two_gigabytes(bombs, read, name):
    _, _, words, code = BOMBS[name]
    answer, peak = read[0][name]
    assert re.match(words, answer), answer
    assert peak < 2 * GB
    if code is not None:
        assert careless(code, bombs / name) == "memory\n"


def test_the_whole_was_watched_from_outside(read):
    told, watch = read
    assert max(peak for _, peak in told.values()) <= watch.children + 64 * MIB < 2 * GB
    assert watch.children > 500 * MIB  # else nothing was seen: the largest image takes that
    assert watch.own - watch.before < 100 * MIB


def test_the_watch_sees_a_child_that_takes_much():
    code = "import time; kept = b'x' * 300_000_000; time.sleep(0.5)"
    with Watch() as watch:
        subprocess.run([sys.executable, "-c", code], check=True)
    assert 300_000_000 < watch.children < 400_000_000
    assert np.isfinite(watch.own)


def test_the_reference_names_tests_that_there_are():
    root = HERE.parents[1]
    named = set(re.findall(r"`(tests/[^`]+)`", (root / "docs" / "reference" / "hostile-inputs.md").read_text()))
    assert len(named) > 15
    assert {name for name in named if not (root / name).is_file()} == set()
