"""Weights of networks by name: nests, heads, channels; what does not fit; and what must never be opened."""

import io
import json
import pickle
import struct

import numpy as np
import pytest
import torch
import torchvision
from networks_made import made
from payloads import Payload, pickled, ran, tarred, zipped
from safetensors.torch import save_file
from torch import nn

from radproof.core.guard import Limits, guarded
from radproof.errors import BadModel
from radproof.models.importers import torch_files
from radproof.models.importers.state_dict import read_state_dict
from radproof.models.opening import read_network

NAME = "resnet10t"
VISION = "torchvision:mobilenet_v3_small"
TORCH = "import sys, torch; torch.load(sys.argv[1], weights_only=False)"


@pytest.fixture(scope="module")
def network():
    return made(NAME)


def same(found, network, channels=3):
    x = torch.rand(2, channels, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(found.graph(x), network(x), atol=1e-4)


def saved(weights, path, **how):
    torch.save(weights, path, **how)
    return path


@pytest.mark.parametrize(
    "nest",
    [
        lambda w: w,
        lambda w: {"model": w, "epoch": 3},
        lambda w: {"state_dict": {f"module.{k}": v for k, v in w.items()}, "optimizer": {"state": {}}},
        lambda w: {"model_state_dict": {f"_orig_mod.module.{k}": v for k, v in w.items()}},
        lambda w: {"state_dict": {**{f"model.{k}": v for k, v in w.items()}, "criterion.weight": torch.ones(3)}},
        lambda w: {"model_ema": w},
        lambda w: {"checkpoint": 1, "state_dict": {"model": w}},
    ],
)
def test_the_usual_nests_are_unwrapped(nest, network, tmp_path):
    same(read_state_dict(saved(nest(network.state_dict()), tmp_path / "a.pt"), NAME), network)


def test_old_files_of_plain_weights_are_read(network, tmp_path):
    path = saved(network.state_dict(), tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    same(read_state_dict(path, NAME), network)


def test_of_two_sets_of_weights_the_plain_one_is_read_and_this_is_told(network, tmp_path):
    weights = network.state_dict()
    other = {name: torch.zeros_like(value) for name, value in weights.items()}
    found = read_state_dict(saved({"model_ema": other, "state_dict": weights}, tmp_path / "a.pt"), NAME)
    same(found, network)
    assert any("state_dict is read" in note for note in found.notes)


@pytest.mark.parametrize(("architecture", "holder"), [(NAME, "fc"), (VISION, "classifier")])
def test_the_published_head_is_recognised(architecture, holder, tmp_path):
    network = made(architecture)
    width = next(part for part in getattr(network, holder).modules() if isinstance(part, nn.Linear)).in_features
    head = nn.Sequential(nn.Linear(width, 12), nn.ReLU(), nn.Dropout(0.5), nn.Linear(12, 4))
    setattr(network, holder, head)
    network.eval()
    found = read_state_dict(saved(network.state_dict(), tmp_path / "a.pt"), architecture)
    assert found.classes == 4 and any("ReLU" in note for note in found.notes)
    same(found, network)


def test_one_channel_and_half_precision(tmp_path):
    import timm

    network = timm.create_model(NAME, in_chans=1, num_classes=1).eval()
    path = saved({name: value.half() for name, value in network.state_dict().items()}, tmp_path / "a.pt")
    found = read_state_dict(path, NAME)
    assert (found.channels, found.classes) == (1, 1)
    assert any("float16" in note for note in found.notes)
    network.half().float()
    same(found, network, channels=1)


def test_old_names_of_densenet(tmp_path):
    network = torchvision.models.densenet121(num_classes=2).eval()
    weights = network.state_dict()
    for one in ("norm", "conv"):
        for number in "12":
            weights = {name.replace(f".{one}{number}.", f".{one}.{number}.") if "denselayer" in name else name: value
                       for name, value in weights.items()}  # fmt: skip
    assert any("norm.1" in name for name in weights)
    same(read_state_dict(saved(weights, tmp_path / "a.pt"), "torchvision:densenet121"), network)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda w: w.pop("layer1.0.conv1.weight"), "lacks layer1.0.conv1.weight"),
        (lambda w: w.update(extra=torch.ones(2)), "has besides extra"),
        (lambda w: w.update({"layer1.0.conv1.weight": torch.ones(1, 2, 3, 3)}), "has shape"),
        (lambda w: w["fc.weight"].fill_(float("nan")), "NaN weights"),
        (lambda w: w.update({"fc.weight": w["fc.weight"].to(torch.int8)}), "stored as int8"),
        (lambda w: w.update({"conv1.0.weight": torch.ones(24, 4, 3, 3)}), "4 channels"),
    ],
)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_what_does_not_fit_is_told(change, why, suffix, network, tmp_path):
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    change(weights)
    path = tmp_path / f"a.{suffix}"
    save_file(weights, path) if suffix == "safetensors" else saved(weights, path)
    with pytest.raises(BadModel, match=why):
        read_state_dict(path, NAME)


def test_nothing_is_allocated_for_a_file_that_does_not_fit(network, tmp_path, monkeypatch):
    path = saved(network.state_dict(), tmp_path / "a.pt")
    monkeypatch.setattr("radproof.models.importers.state_dict.stored", None)
    with pytest.raises(BadModel, match="does not fit"):
        read_state_dict(path, "resnet18")


@pytest.mark.parametrize("name", ["resnet5000", "torchvision:resnet5000", "hf-hub:timm/resnet18", "torchvision:../x"])
def test_unknown_names(name, network, tmp_path):
    with pytest.raises(BadModel, match="no network named"):
        read_state_dict(saved(network.state_dict(), tmp_path / "a.pt"), name)


def test_another_number_of_classes_than_expected(network, tmp_path):
    with pytest.raises(BadModel, match="for 3 classes, expected 2"):
        read_state_dict(saved(network.state_dict(), tmp_path / "a.pt"), NAME, classes=2)


def legacy_tar(path, mark):
    return tarred(path, {"sys_info": pickled({}), "pickle": pickled(Payload(mark)), "storages": pickled(Payload(mark))})


def package(path, mark):
    text = f"open({str(mark)!r}, 'w').write('ran')\n"
    from torch.package import PackageExporter

    with PackageExporter(str(path)) as exporter:
        exporter.save_source_string("evil", text)
    return path


def script(path, mark):
    torch.jit.script(nn.Linear(2, 2)).save(str(path))
    return path


def numpy_file(path, mark):
    with path.open("wb") as file:
        np.save(file, np.array([Payload(mark)], dtype=object), allow_pickle=True)
    return path


def numpy_files(path, mark):
    with path.open("wb") as file:
        np.savez(file, a=np.array([Payload(mark)], dtype=object))
    return path


def scikit(path, mark):
    import joblib

    joblib.dump({"model": Payload(mark)}, path)
    return path


def squeezed(path, mark):
    import joblib

    joblib.dump({"model": Payload(mark)}, path, compress=3)
    return path


PICKLE = "import sys, pickle; pickle.load(open(sys.argv[1], 'rb'))"
NUMPY = "import sys, numpy; d = numpy.load(sys.argv[1], allow_pickle=True); getattr(d, 'get', lambda _: 0)('a')"
JOBLIB = "import sys, joblib; joblib.load(sys.argv[1])"
PACKAGE = "import sys, torch; torch.package.PackageImporter(sys.argv[1]).import_module('evil')"
HOSTILE = {
    "nested.pt": (lambda p, m: saved({"state_dict": {"a": torch.ones(2), "b": Payload(m)}}, p), TORCH, "can run code"),
    "whole.pth": (lambda p, m: saved(Payload(m), p), TORCH, "can run code"),
    "old.pth": (lambda p, m: saved(Payload(m), p, _use_new_zipfile_serialization=False), TORCH, "can run code"),
    "a.bin": (lambda p, m: p.write_bytes(pickled(Payload(m))) and p, PICKLE, "can run code"),
    "a.pkl": (lambda p, m: p.write_bytes(pickle.dumps([Payload(m)], protocol=0)) and p, PICKLE, "can run code"),
    "tar.pt": (legacy_tar, TORCH, "tar archive"),
    "package.pt": (package, PACKAGE, "Python code"),
    "array.npy": (numpy_file, NUMPY, "may hold a pickle"),
    "arrays.npz": (numpy_files, NUMPY, "may hold pickles"),
    "model.joblib": (scikit, JOBLIB, "can run code"),
    "model.joblib.z": (squeezed, JOBLIB, "compressed"),
    "posing.safetensors": (lambda p, m: p.write_bytes(pickled(Payload(m))) and p, PICKLE, "can run code"),
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The files, their marks, and whether they ran where nobody asked."""
    folder = tmp_path_factory.mktemp("hostile")
    files = {name: folder / name for name in HOSTILE}
    marks = {name: folder / f"{name}.mark" for name in HOSTILE}
    for name, (make, _, _) in HOSTILE.items():
        make(files[name], marks[name])
    damage = ran([(HOSTILE[name][1], files[name], marks[name]) for name in HOSTILE])
    return files, marks, dict(zip(HOSTILE, damage, strict=True))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", HOSTILE)
def test_what_can_run_code_is_refused_and_does_not_run(name, hostile):
    files, marks, damage = hostile
    path, mark, why = files[name], marks[name], HOSTILE[name][2]
    assert damage[name]
    for way in (
        lambda: read_network(path, NAME),
        lambda: read_state_dict(path, ""),
        lambda: read_state_dict(path, NAME),
    ):
        with pytest.raises(BadModel, match=why) as caught:
            way()
        if why == "can run code":
            assert "radproof model convert" in str(caught.value)
    assert not mark.exists()
    assert not isinstance(caught.value.__cause__, pickle.UnpicklingError)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_and_whole_modules_are_refused(network, tmp_path):
    with pytest.raises(BadModel, match=r"TorchScript.*radproof model convert"):
        read_network(script(tmp_path / "a.pt", None), NAME)
    with pytest.raises(BadModel, match=r"more than weights \(timm.*radproof model convert"):
        read_network(saved(network, tmp_path / "b.pt"), NAME)


def test_torch_never_opens_a_file_with_more_than_weights(network, tmp_path, monkeypatch):
    asked = []
    load = torch.load
    monkeypatch.setattr(torch_files.torch, "load", lambda *a, **k: asked.append(k["weights_only"]) or load(*a, **k))
    read_state_dict(saved(network.state_dict(), tmp_path / "a.pt"), NAME)
    assert asked and all(value is True for value in asked)


def forged(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "data",
    [
        forged({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, b"\0" * 12),  # noqa: E501
        forged({"a": {"dtype": "F64", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 8),
        forged({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4 << 40]}}, b"\0" * 8),
        forged({"a": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 8]}}, b"\0" * 8),
        forged({"a": {"dtype": "EVIL", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 8),
        struct.pack("<Q", 1 << 30) + b"{" + b" " * 100,
        forged(b"{" + b"[" * 100_000),
    ],
    ids=["overlapping", "wrong kind", "beyond", "overflowing", "unknown kind", "huge header", "deep header"],
)  # fmt: skip
def test_forged_safetensors(data, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(BadModel, match="not a whole safetensors file"):
        read_state_dict(tmp_path / "a.safetensors", NAME)


def test_a_header_of_more_than_a_hundred_megabytes(tmp_path):
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 110_000_000) + b'{"a": "')
        file.truncate(120_000_000)
    with pytest.raises(BadModel, match="not a whole safetensors file"):
        read_state_dict(path, NAME)


def bomb(path, numbers, *, view=False):
    """A torch file of a few bytes whose pickle wants `numbers` floats; by a view: repeats one of them."""
    tensor = torch.ones(1).expand(numbers) if view else torch.ones(4)
    buffer = io.BytesIO()
    torch.save({"fc.weight": tensor}, buffer, _use_new_zipfile_serialization=view)
    if view:
        return path.write_bytes(buffer.getvalue()) and path
    small, large = (b"K" + bytes([4]), b"\x8a\x05" + numbers.to_bytes(5, "little"))
    data = buffer.getvalue()
    head, mark, tail = data.partition(b"X\x03\x00\x00\x00cpu")
    at = tail.index(small)
    return path.write_bytes(head + mark + tail[:at] + large + tail[at + 2 :]) and path


@pytest.mark.parametrize("view", [False, True])
def test_shapes_beyond_the_file_are_refused_before_memory_is_taken(view, tmp_path):
    path = bomb(tmp_path / "a.pt", 200_000_000, view=view)
    assert path.stat().st_size < 5000
    with pytest.raises(BadModel, match=r"declares|not a whole"):
        read_state_dict(path, NAME)


def test_a_bomb_takes_memory_outside_and_none_within(tmp_path):
    import subprocess
    import sys

    path = bomb(tmp_path / "a.pt", 200_000_000, view=True)
    code = (
        "import sys, torch, resource\n"
        "w = torch.load(sys.argv[1], weights_only=True)['fc.weight'].clone()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(told.stdout) > 800
    with pytest.raises(BadModel, match="declares a tensor of shape"):
        guarded(
            "radproof.models.importers.state_dict:read_state_dict",
            {"path": str(path), "architecture": NAME},
            read=[path],
            limits=Limits(memory=900_000_000),
        )


@pytest.mark.parametrize("name", ["../a", "/a", "a\\..\\..\\b"])
def test_entries_that_point_outside(name, network, tmp_path):
    path = zipped(tmp_path / "a.pt", {"archive/data.pkl": pickled({}), name: b"x"})
    with pytest.raises(BadModel, match="points outside"):
        read_state_dict(path, NAME)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.pt"]


def test_a_squeezed_archive_is_a_bomb(tmp_path):
    import zipfile

    entries = {"archive/data.pkl": pickled({}), "archive/data/0": b"\0" * 30_000_000}
    path = zipped(tmp_path / "a.pt", entries, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(BadModel, match="compresses"):
        read_state_dict(path, NAME)


@pytest.mark.parametrize("keep", [3, 100, 2000])
def test_truncated_files(keep, network, tmp_path):
    path = saved(network.state_dict(), tmp_path / "a.pt")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadModel):
        read_network(path, NAME)
