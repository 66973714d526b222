"""radproof model check and convert from the command line, and a service assessed as a black box."""

import json
import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from radproof.models.card import ModelCard, save_model
from radproof.models.zoo import build

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


class Light(nn.Module):
    """Light images are the second class; it takes pixels from 0 to 255, and the border lies at 3/8."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([-4.0, 4.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1))
            self.conv.bias.copy_(torch.tensor([4.5, -4.5]))

    def forward(self, x):
        return self.conv(x.clamp(0, 255) / 255).mean((2, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """30 images of each class, in folders, and the model's file."""
    root = tmp_path_factory.mktemp("checked")
    rng = np.random.default_rng(0)
    for label, grey in (("Clear", 60), ("Opaque", 130)):
        (root / "set" / label).mkdir(parents=True)
        for n in range(30):
            pixels = np.clip(grey + rng.normal(0, 8) + rng.normal(0, 20, (32, 32)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / "set" / label / f"{n}.png")
    torch.onnx.export(
        Light(), (torch.rand(2, 3, 32, 32),), root / "model.onnx", dynamo=False, opset_version=17,
        input_names=["x"], dynamic_axes={"x": {0: "n"}},
    )  # fmt: skip
    return root


def test_a_wrong_guess_is_found_written_and_then_right(radproof, folder, tmp_path, monkeypatch):
    model = tmp_path / "model.onnx"
    model.write_bytes((folder / "model.onnx").read_bytes())
    words = ("model", "check", model, "--data", folder / "set", "--quiet")
    code, out, err = radproof(*words, "--write")
    assert code == 1, (out, err)
    assert "images are likely shown wrongly" in out and "Guard: " in out and "own process" in out
    assert "as assumed" in out and "pixels from 0 to 255" in out
    beside = tmp_path / "model.card.yaml"
    assert f"Written: {beside}" in out
    card = yaml.safe_load(beside.read_text())
    assert card["labels"] == ["Clear", "Opaque"] and card["range"] == [0.0, 255.0] and card["std"] == [1.0] * 3
    monkeypatch.setattr("radproof.assess.inspecting.inside", lambda: True)  # a second guard would show nothing more
    code, out, err = radproof(*words, "--json")
    assert code == 0, (out, err)
    found = json.loads(out)
    assert found["problems"] == [] and found["likely"] == ""
    assert found["tried"][0]["convention"] == "as assumed" and found["tried"][0]["accuracy"] > 0.9
    assert found["accuracy"]["value"] > 0.9 and found["accuracy"]["n"] >= 40
    assert yaml.safe_load(found["line"])["range"] == [0.0, 255.0]


def test_a_stated_accuracy_and_permuted_names_are_told(folder):
    """The same without another process: what is found, not how it is guarded."""
    from radproof.assess.inspecting import inspect
    from radproof.assess.sections import DataPlan, ModelPlan

    def checked(**card):
        told = {
            "architecture": "onnx", "labels": ["Clear", "Opaque"], "input_size": 32, "mean": [0.0] * 3,
            "std": [1.0] * 3, "range": [0, 255], "hidden": 0,
        }  # fmt: skip
        path = folder / "card.of.test.yaml"
        path.write_text(yaml.safe_dump(told | card))
        model = ModelPlan(path=str(folder / "model.onnx"), card=str(path))
        data = DataPlan(kind="folder", path=str(folder / "set"))
        return inspect(model, data, folder / "cache", "cpu")

    assert checked(metrics={"accuracy": 0.9}).problems == ()
    assert checked(metrics={"accuracy": 90}).problems == ()
    swapped = checked(labels=["Opaque", "Clear"], licence="CC0-1.0")
    assert "classes misnamed" in swapped.problems[-1]
    likely = yaml.safe_load(swapped.likely)
    assert likely["labels"] == ["Clear", "Opaque"] and likely["licence"] == "CC0-1.0"
    wrong = checked(labels=["Opaque", "Clear"], metrics={"accuracy": 95})
    (told,) = [one for one in wrong.problems if "states" in one]
    assert told.startswith("its card states an accuracy of 95 %; on 48 labelled images it is ")
    assert wrong.guard == ()


def test_an_own_folder_needs_no_guard(radproof, folder, tmp_path):
    own = build("cxrnet", labels=("Clear", "Opaque"), input_size=32, hidden=0)
    save_model(tmp_path / "own", own, ModelCard(**dict(own.blueprint)))
    code, out, err = radproof("model", "check", tmp_path / "own", "--data", folder / "set", "--quiet", "--write")
    assert code in (0, 1) and "Guard: not needed" in out, (out, err)
    assert "Not written: own is a folder" in out


class Payload:
    def __reduce__(self):
        import os

        return os.system, ("true",)


def test_conversion_asks_for_trust(radproof, tmp_path):
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"a": Payload()}))
    code, out, err = radproof("model", "convert", tmp_path / "old.pt", "--out", tmp_path / "out", "--quiet")
    assert code == 2 and not out
    assert "posix.system, which weights do not need" in err and "--i-trust-this-file" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shape", ["3,32", "3,32,x", "0,32,32", ""])
def test_a_shape_that_is_none(radproof, tmp_path, shape):
    (tmp_path / "old.pt").write_bytes(b"x")
    words = ("model", "convert", tmp_path / "old.pt", "--out", tmp_path / "out", "--i-trust-this-file")
    code, _, err = radproof(*words, "--shape", shape)
    assert code == 2 and "three whole numbers" in err


def test_a_service_is_assessed_with_what_asks_and_what_is_carried_over(radproof, folder, tmp_path):
    light = Light()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            (told,) = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
            x = torch.tensor(told["data"]).reshape(told["shape"])
            with torch.no_grad():
                p = light(x).softmax(1)
            body = json.dumps({"outputs": [{"name": "p", "shape": list(p.shape), "data": p.ravel().tolist()}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    card = {"architecture": "endpoint", "labels": ["Clear", "Opaque"], "input_size": 32, "hidden": 0}
    card |= {"mean": [0, 0, 0], "std": [1, 1, 1], "range": [0, 255]}
    (tmp_path / "service.yaml").write_text(yaml.safe_dump(card))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        train = {
            "architecture": "cxrnet", "input_size": 32, "hidden": 0, "dropout": 0.0, "head_epochs": 0, "epochs": 1,
            "batch": 16, "unfreeze": "all", "lr": 0.003, "precision": "fp32",
        }  # fmt: skip
        url = f"http://127.0.0.1:{server.server_port}/v2/models/m/infer"
        plan = {
            "name": "asked",
            "data": {"kind": "folder", "path": str(folder / "set"), "images": 6},
            "model": {"endpoint": {"url": url}, "card": "service.yaml"},
            "surrogates": {"other": {"train": train}},
            "attacks": [
                {"name": "square", "queries": 20},
                {"name": "hopskipjump", "queries": 40},
                {"name": "pgd", "steps": 2},
            ],
            "budgets": ["16/255"],
            "batch": 6,
            "bootstrap": 100,
            "gallery": 0,
        }  # fmt: skip
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
        code, out, err = radproof("assess", tmp_path / "plan.yaml", "--out", tmp_path / "run", "--quiet")
        server.shutdown()
        thread.join()
    assert code == 0, (out, err)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    made = {(cell["attack"], cell["made_on"]) for cell in result["cells"] if cell["attack"] not in ("none", "worst")}
    assert {("square", "model"), ("hopskipjump", "model"), ("pgd", "other")} <= made
    assert ("pgd", "model") not in made
    (doubt,) = [doubt for doubt in result["doubts"] if doubt["kind"] == "black-box"]
    assert doubt["severity"] == "serious" and "images made on other networks" in doubt["message"]
    clean = next(cell for cell in result["cells"] if cell["column"] == "clean" and cell["defense"] == "none")
    assert clean["scores"]["accuracy"]["value"] == 1.0
