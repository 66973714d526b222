import io
import os
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from radproof import app
from radproof.errors import BadModel
from radproof.models.convert import convert_model
from radproof.models.importers.onnx import read_onnx
from radproof.models.importers.pt2 import read_pt2

SHAPE = (3, 32, 32)
X = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
MODULE = """
from torch import nn

class Own(nn.Module):
    def __init__(self, wrap="none"):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.top, self.wrap = nn.Linear(4, 3), wrap

    def forward(self, x):
        logits = self.top(self.body(x).flatten(1))
        return {"none": logits, "dict": {"aux": x, "logits": logits}, "one": (logits,), "two": (logits, x)}[self.wrap]
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder with a module of somebody's own, and its class."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "somebodys.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    try:
        import somebodys
    finally:
        sys.path.remove(str(folder))
    yield folder, somebodys.Own
    del sys.modules["somebodys"]


def network(make, *arguments):
    torch.manual_seed(1)
    model = make(*arguments)
    with torch.no_grad():
        model(X)  # batch statistics of its own
    return model.eval()


def plain():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


def close(a, b):
    return torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("wrap", ["none", "dict", "one"])
def test_a_pickled_network_of_own_code(own, tmp_path, wrap):
    folder, make = own
    model = network(make, wrap)
    torch.save({"epoch": 3, "model": model} if wrap == "none" else model, folder / "old.pt")
    made = convert_model(folder / "old.pt", tmp_path, SHAPE)
    assert made.name == "model.pt2"
    imported = read_pt2(made)
    assert (imported.channels, imported.size, imported.classes, imported.batch) == (3, (32, 32), 3, None)
    logits = model.top(model.body(X).flatten(1))
    assert close(imported.graph(X), logits)
    assert close(imported.graph(X[:1]), logits[:1])


@pytest.mark.slow
def test_the_same_in_the_guard_with_its_code_elsewhere(own, tmp_path):
    folder, make = own
    model = network(make)
    torch.save(model, folder / "old.pt")
    (tmp_path / "alone").mkdir()
    torch.save(model, tmp_path / "alone" / "old.pt")
    made = app.convert(tmp_path / "alone" / "old.pt", tmp_path / "out", shape=SHAPE, code=folder)
    assert made == tmp_path / "out" / "model.pt2"
    assert os.listdir(tmp_path / "out") == ["model.pt2"]
    assert close(read_pt2(made).graph(X), model(X))


def test_missing_code_is_told(own, tmp_path, monkeypatch):
    torch.save(network(own[1]), tmp_path / "old.pt")
    monkeypatch.delitem(sys.modules, "somebodys")
    with pytest.raises(BadModel, match=r"No module named 'somebodys'.*must be importable: --code FOLDER"):
        convert_model(tmp_path / "old.pt", tmp_path / "none", shape=SHAPE)


def test_a_network_with_several_answers_is_refused_by_name(own, tmp_path):
    folder, make = own
    torch.save(network(make, "two"), folder / "two.pt")
    with pytest.raises(BadModel, match="answers two images with tuple, expected"):
        convert_model(folder / "two.pt", tmp_path, SHAPE)


def test_another_shape_is_refused_with_advice(own, tmp_path):
    folder, make = own
    torch.save(network(make), folder / "old.pt")
    with pytest.raises(BadModel, match=r"for images of \(1, 32, 32\).*--shape"):
        convert_model(folder / "old.pt", tmp_path, (1, 32, 32))


class Odd:
    """Something in a checkpoint that no loader of weights alone opens."""


@pytest.mark.parametrize("name", ["state_dict", "model", "anything"])
@pytest.mark.parametrize("legacy", [False, True])
def test_the_weights_of_a_checkpoint_and_not_its_optimisers(tmp_path, name, legacy, monkeypatch):
    monkeypatch.setattr(Odd, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Odd", Odd, raising=False)
    model = network(plain)
    optimiser = torch.optim.Adam(model.parameters())
    model(X).sum().backward()
    optimiser.step()
    checkpoint = {"optimizer": optimiser.state_dict(), "epoch": 3, "args": Odd(), name: model.state_dict()}
    torch.save(checkpoint, tmp_path / "old.pt", _use_new_zipfile_serialization=not legacy)
    made = convert_model(tmp_path / "old.pt", tmp_path / "out")
    assert made.name == "model.safetensors"
    found = load_file(made)
    assert set(found) == set(model.state_dict())
    assert all(torch.equal(found[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("thing", [{"epoch": 3}, [1, 2], "text", {"steps": {0: torch.rand(2, 2)}}])
def test_a_pickle_without_a_network(tmp_path, thing):
    torch.save(thing, tmp_path / "old.pt")
    with pytest.raises(BadModel, match="neither a network nor its weights"):
        convert_model(tmp_path / "old.pt", tmp_path / "out")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_torchscript_program(tmp_path):
    model = network(plain)
    torch.jit.save(torch.jit.trace(model, X), tmp_path / "old.pt")
    made = convert_model(tmp_path / "old.pt", tmp_path / "out", SHAPE)
    assert made.name == "model.onnx"
    assert close(read_onnx(made).graph(X), model(X))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_an_onnx_file_with_data_beside_it(tmp_path):
    model = network(plain)
    torch.onnx.export(
        model, (X,), tmp_path / "a.onnx", dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}}
    )  # fmt: skip
    (tmp_path / "old").mkdir()
    onnx.save(
        onnx.load(tmp_path / "a.onnx"), tmp_path / "old" / "b.onnx", save_as_external_data=True, size_threshold=0,
        location="weights.bin",
    )  # fmt: skip
    with pytest.raises(BadModel):
        read_onnx(tmp_path / "old" / "b.onnx")
    made = app.convert(tmp_path / "old" / "b.onnx", tmp_path / "out")
    assert close(read_onnx(made).graph(X), model(X))
    (tmp_path / "old" / "weights.bin").unlink()
    with pytest.raises(BadModel, match="the data beside it cannot be read"):
        convert_model(tmp_path / "old" / "b.onnx", tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"\x7fELF" + b"0" * 99, "is a program, not a model"), (b"<html>", "a download that failed")],
)
def test_what_cannot_be_converted(tmp_path, content, said):
    (tmp_path / "old.pt").write_bytes(content)
    with pytest.raises(BadModel, match=said):
        convert_model(tmp_path / "old.pt", tmp_path / "out")


def test_what_needs_no_conversion(tmp_path):
    model = network(plain)
    torch.export.save(torch.export.export(model, (X,)), tmp_path / "a.pt2")
    with pytest.raises(BadModel, match="pt2: it opens as it is"):
        convert_model(tmp_path / "a.pt2", tmp_path / "out")


class Runs:
    def __init__(self, code):
        self.code = code

    def __reduce__(self):
        return exec, (textwrap.dedent(self.code),)


def hostile(path, code):
    stream = io.BytesIO()
    pickle.dump({"state_dict": {"a": 1}, "x": Runs(code)}, stream)
    path.write_bytes(stream.getvalue())
    return path


def test_a_payload_writes_nowhere_else_and_reaches_nobody(tmp_path):
    outside, out = tmp_path / "outside", tmp_path / "out"
    for folder in (outside, out, tmp_path / "in"):
        folder.mkdir()
    (out / "mine.txt").write_text("kept")
    code = f"open({str(outside / 'mark')!r}, 'w').write('x')"
    file = hostile(tmp_path / "in" / "old.pt", code)
    subprocess.run([sys.executable, "-c", f"import pickle; pickle.load(open({str(file)!r}, 'rb'))"], check=True)
    assert (outside / "mark").exists()  # without a guard it does its damage
    (outside / "mark").unlink()
    with pytest.raises(BadModel):
        app.convert(file, out)
    changed = hostile(tmp_path / "in" / "b.pt", f"open({str(out / 'mine.txt')!r}, 'w').write('x')")
    with pytest.raises(BadModel):
        app.convert(changed, out)
    assert not os.listdir(outside)
    assert (out / "mine.txt").read_text() == "kept"
    assert os.listdir(out) == ["mine.txt"]


def test_a_link_in_the_networks_place_is_not_taken(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s")
    (tmp_path / "in").mkdir()
    code = f"""
    import os, radproof.models.convert as c
    def save(path, weights):
        os.symlink({str(secret)!r}, path)
    c.save_weights = save
    """
    path = tmp_path / "in" / "old.pt"
    stream = io.BytesIO()
    torch.save({"state_dict": {"w": torch.rand(2, 2)}, "x": Runs(code)}, stream)
    path.write_bytes(stream.getvalue())
    with pytest.raises(BadModel, match=r"no network came of it|is a link|a link; nothing|outside what it was given"):
        app.convert(path, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_a_numpy_pickle_inside_keeps_nothing_from_being_converted(tmp_path):
    torch.save({"mean": np.float64(0.5), "state_dict": plain().state_dict()}, tmp_path / "old.pt")
    assert convert_model(tmp_path / "old.pt", tmp_path / "out").name == "model.safetensors"


class Answers:
    """A pickle that answers for the process which opens it, and ends it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        code = f"""
import json, os
line = (json.dumps({{"value": {str(self.path)!r}}}) + "\\n").encode()
for stream in range(3, 64):
    try:
        os.write(stream, line)
    except OSError:
        pass
os._exit(0)
"""
        return exec, (code,)


def test_a_file_that_answers_for_its_reader_moves_nothing_of_anyones(tmp_path):
    victim = tmp_path / "victim" / "model.onnx"
    victim.parent.mkdir()
    victim.write_bytes(b"somebody's own")
    own = tmp_path / "theirs"
    own.mkdir()
    (own / "odd.pt").write_bytes(pickle.dumps(Answers(victim)))
    with pytest.raises(BadModel):
        app.convert(own / "odd.pt", tmp_path / "out")
    assert victim.read_bytes() == b"somebody's own"
    assert not list((tmp_path / "out").iterdir())


def test_a_payload_reads_nothing_beside_its_file(tmp_path):
    (tmp_path / "in" / ".ssh").mkdir(parents=True)
    (tmp_path / "in" / ".ssh" / "id").write_text("key")
    code = f"open({str(tmp_path / 'in' / '.ssh' / 'id')!r}).read()"
    file = hostile(tmp_path / "in" / "old.pt", code)
    subprocess.run([sys.executable, "-c", f"import pickle; pickle.load(open({str(file)!r}, 'rb'))"], check=True)
    with pytest.raises(BadModel, match="PermissionError"):
        app.convert(file, tmp_path / "out")
