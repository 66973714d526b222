# SPDX-License-Identifier: Apache-2.0
"""What kind of file this is, by its content: a suffix is only a claim. And why some kinds are never opened."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from radproof.errors import BadModel

Kind = Literal[
    "safetensors", "torch-zip", "torch-legacy", "torch-tar", "torchscript", "torch-package", "pt2", "onnx", "keras",
    "hdf5", "npy", "npz", "pickle", "compressed", "zip", "tflite", "saved-model", "program", "html", "pointer", "empty",
    "unknown",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)

_LEGACY_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # the number with which torch.save once began, as pickled
_STARTS: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "hdf5"),
    (512, b"\x89HDF\r\n\x1a\n", "hdf5"),
    (0, b"\x93NUMPY", "npy"),
    (257, b"ustar", "torch-tar"),
    (4, b"TFL3", "tflite"),
    (0, b"\x1f\x8b", "compressed"),
    (0, b"BZh", "compressed"),
    (0, b"\xfd7zXZ", "compressed"),
    (0, b"\x5d\x00\x00", "compressed"),
    (0, b"\x78\x01", "compressed"),
    (0, b"\x78\x5e", "compressed"),
    (0, b"\x78\x9c", "compressed"),
    (0, b"\x78\xda", "compressed"),
    (0, b"\x04\x22\x4d\x18", "compressed"),
    (0, b"ZF", "compressed"),
    (0, b"\x7fELF", "program"),
    (0, b"MZ", "program"),
    (0, b"#!", "program"),
    (0, b"version https://git-lfs", "pointer"),
)
_CONVERT = "the file's owner, who trusts it, can convert it once: radproof model convert {file} --out FOLDER"
_RUNS = "can run code when it is opened, and radproof opens no such file; " + _CONVERT
_REASONS: dict[Kind, str] = {
    "torch-legacy": "is an old torch file whose pickle " + _RUNS,
    "torch-tar": "is a tar archive, as torch wrote before 2017, whose pickles " + _RUNS,
    "torchscript": "is a TorchScript archive, which holds a program: it " + _RUNS,
    "torch-package": "is a torch.package archive, which holds Python code: it " + _RUNS,
    "pickle": "is a pickle (joblib and scikit-learn write those too), which " + _RUNS,
    "npy": "is a NumPy array, which may hold a pickle, and is no model; save weights as safetensors",
    "npz": "is an archive of NumPy arrays, which may hold pickles, and is no model; save weights as safetensors",
    "compressed": "is compressed as a whole (joblib's pickles often are); unpack it, and save weights as safetensors",
    "zip": "is a zip archive that no framework known here wrote; give the model file itself",
    "tflite": "is a TensorFlow Lite model, which has no gradients; give the Keras model or an ONNX file of it",
    "saved-model": "is a TensorFlow SavedModel, which holds a program; save it as .keras, or convert it to ONNX",
    "program": "is a program, not a model",
    "html": "is a web page, most likely the notice of a download that failed; download the model again",
    "pointer": "is a pointer of Git LFS, not the model itself; fetch it: git lfs pull",
    "empty": "is empty",
    "unknown": "is no kind of model file known here; give .safetensors, .pt, .pt2, .onnx, .keras or .h5",
}


def what_is(path: Path) -> Kind:
    """The kind of a file. Raises BadModel where there is none. Nothing in it is opened but a zip's list of names."""
    if path.is_dir():
        return "saved-model" if (path / "saved_model.pb").is_file() else "unknown"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(4096)
            file.seek(max(size - 1, 0))
            last = file.read(1)
    except OSError as error:
        raise BadModel(f"cannot read {path.name}: {error.strerror or error}") from None
    if not head:
        return "empty"
    if zipfile.is_zipfile(path):
        return _zip(path)
    for at, start, kind in _STARTS:
        if head[at : at + len(start)] == start:
            return kind
    return _guess(path, head, last)


def refusal(path: Path, kind: Kind) -> str:
    """Why a file of this kind is not opened, and what to do; '' for a kind that is."""
    reason = _REASONS.get(kind, "")
    return f"{path.name} {reason.format(file=path.name)}" if reason else ""


def may_run(path: Path, what: str) -> str:
    """Why a file that holds `what` is not opened, and what to do."""
    return f"{path.name} holds {what}, and so " + _RUNS.format(file=path.name)


def _guess(path: Path, head: bytes, last: bytes) -> Kind:
    tests: tuple[tuple[Callable[[], bool], Kind], ...] = (
        (lambda: head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 48, "safetensors"),
        (lambda: head[:1] == b"\x80" and head[1:2] <= b"\x05" and _LEGACY_MAGIC in head[:64], "torch-legacy"),
        (lambda: head[:1] == b"\x80" and b"\x02" <= head[1:2] <= b"\x05", "pickle"),
        (lambda: (head[:1] in b"(]}cl" and last == b".") or head[:2] in (b"cp", b"co"), "pickle"),
        (lambda: head.lstrip()[:1] == b"<", "html"),
        (lambda: _is_onnx(head), "onnx"),
        (lambda: path.suffix.lower() == ".onnx", "onnx"),
    )
    for test, kind in tests:
        if test():
            return kind
    return "unknown"


def _is_onnx(head: bytes) -> bool:
    """Field 1 of the message is a small version, and a field known to ONNX's ModelProto follows."""
    return (
        head[:1] == b"\x08"
        and 1 <= head[1] <= 40
        and head[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x28", b"\x3a", b"\x42")
    )


def _zip(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "zip"
    inner = {name.partition("/")[2] for name in names} | names
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return "torchscript"
    if ".data/extern_modules" in inner:
        return "torch-package"
    if "archive_format" in inner or "serialized_exported_program.json" in inner:
        return "pt2"
    if "data.pkl" in inner:
        return "torch-zip"
    if {"config.json", "model.weights.h5"} <= names:
        return "keras"
    return "npz" if names and all(name.endswith(".npy") for name in names) else "zip"
