"""Files are told by their content, whatever their names claim."""

import gzip

import pytest
import torch
from payloads import pickled, tarred, zipped

from radproof.errors import BadModel
from radproof.models.importers.kinds import refusal, what_is

SAMPLES = {
    "safetensors": b'\x10\0\0\0\0\0\0\0{"a":{}         }',
    "hdf5": b"\x89HDF\r\n\x1a\n" + b"\0" * 50,
    "npy": b"\x93NUMPY\x01\0",
    "pickle": pickled({"a": 1}),
    "compressed": gzip.compress(b"x" * 100),
    "tflite": b"\x1c\0\0\0TFL3" + b"\0" * 40,
    "program": b"\x7fELF\x02",
    "html": b"\n <!DOCTYPE html><html>Quota exceeded</html>",
    "pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "onnx": b"\x08\x08\x12\x07pytorch\x1a\x01",
    "empty": b"",
    "unknown": b"\x00\x01\x02\x03",
}
ARCHIVES = {
    "torch-zip": {"a/data.pkl": b"", "a/version": b"3"},
    "torchscript": {"a/data.pkl": b"", "a/constants.pkl": b"", "a/code/x.py": b""},
    "torch-package": {"a/.data/extern_modules": b"", "a/data.pkl": b""},
    "pt2": {"a/archive_format": b"pt2", "a/models/model.json": b"{}"},
    "keras": {"config.json": b"{}", "model.weights.h5": b""},
    "npz": {"a.npy": b"", "b.npy": b""},
    "zip": {"readme.txt": b""},
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_files(kind, tmp_path):
    path = tmp_path / "claims.to.be.pt2"
    path.write_bytes(SAMPLES[kind])
    assert what_is(path) == kind


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives(kind, tmp_path):
    assert what_is(zipped(tmp_path / "claims.h5", ARCHIVES[kind])) == kind


def test_files_that_torch_wrote(tmp_path):
    path = tmp_path / "claims.onnx"
    torch.save({"a": torch.ones(2)}, path)
    assert what_is(path) == "torch-zip"
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    assert what_is(path) == "torch-legacy"
    assert what_is(tarred(path, {"pickle": b"", "storages": b""})) == "torch-tar"


def test_folders_and_files_that_are_not_there(tmp_path):
    assert what_is(tmp_path) == "unknown"
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    assert what_is(tmp_path) == "saved-model"
    with pytest.raises(BadModel, match=r"cannot read none\.pt"):
        what_is(tmp_path / "none.pt")


@pytest.mark.parametrize("kind", ["pickle", "torch-legacy", "torch-tar", "torchscript", "torch-package"])
def test_what_can_run_is_for_its_owner_to_convert(kind, tmp_path):
    assert "radproof model convert a.pt --out FOLDER" in refusal(tmp_path / "a.pt", kind)


@pytest.mark.parametrize("kind", ["safetensors", "torch-zip", "pt2", "onnx", "keras", "hdf5"])
def test_what_has_an_importer_is_not_refused(kind, tmp_path):
    assert refusal(tmp_path / "a.pt", kind) == ""
