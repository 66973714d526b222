# SPDX-License-Identifier: Apache-2.0
"""Plans with strangers' files: stopped, killed and gone on with in a guarded process, and what they cannot reach."""

import json
import os
import signal
import socket
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from radproof.assess import inspecting, sheltered
from radproof.assess import run as unguarded
from radproof.assess.plan import make_plan
from radproof.core.guard import Guarded, guarded
from radproof.core.progress import SILENT
from radproof.errors import BadInput, BadModel, BadPlan, Interrupted

HERE = Path(__file__).parent


def write_model(path: Path) -> Path:
    """Light or dark, by the mean of three channels as ImageNet's networks take them."""
    weights = {
        "kernel": np.full((2, 3, 1, 1), 1 / 3, np.float32),
        "top": np.array([[-9, 0], [9, 0]], np.float32),
        "bias": np.zeros(2, np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "kernel"], ["maps"]),
            helper.make_node("GlobalAveragePool", ["maps"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["features"]),
            helper.make_node("Gemm", ["features", "top", "bias"], ["logits"], transB=1),
        ],
        "light",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """A stranger's file on PNG files, in batches so small that there are several."""
    root = tmp_path_factory.mktemp("stranger")
    rng = np.random.default_rng(0)
    for label, grey in (("Dark", 105), ("Light", 131)):
        (root / "set" / label).mkdir(parents=True)
        for number in range(30):
            image = rng.normal(grey + rng.uniform(-4, 4), 10, (32, 32)).clip(0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / "set" / label / f"{number}.png")
    (root / "model").mkdir()
    return make_plan(
        {
            "name": "stranger",
            "data": {"kind": "folder", "path": "set", "images": 12},
            "model": {"path": str(write_model(root / "model" / "light.onnx"))},
            "attacks": [{"name": "pgd", "steps": 60}],
            "budgets": ["1/255", "4/255", "16/255"],
            "smallest": None,
            "batch": 4,
            "bootstrap": 100,
            "precision": "fp32",
        },
        base=root,
    )


class Signals:
    """A progress that gets a signal when the first attack has advanced, as from a keyboard or from outside."""

    def __init__(self, number):
        self.number = number

    def start(self, stage, total):
        pass

    def note(self, message):
        pass

    def advance(self, stage, amount=1.0):
        if stage == "attacks":
            os.kill(os.getpid(), self.number)


def batches(run):
    return {path: path.stat().st_mtime_ns for path in run.glob("work/batches/*/*.npz")}


def children(parent: int) -> list[str]:
    """Guarded processes that were started by a process."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(b"guard_child" in word for word in words) and str(parent).encode() in words:
                found.append(folder.name)
    return found


def killed(work) -> int:
    """Do it in a copy of this process that is to be killed meanwhile; its number."""
    number = os.fork()
    if not number:
        try:
            work()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == -signal.SIGKILL
    return number


@pytest.fixture
def instead(monkeypatch):
    """Another function in place of the work, in the same guard."""

    def put(name):
        monkeypatch.setattr(
            sheltered, "guarded", lambda task, given, **how: guarded(f"hostile_work:{name}", given, paths=[HERE], **how)
        )

    return put


def gone(parent: int) -> bool:
    """Whether a process that has ended has left no guarded one, after a while."""
    for _ in range(400):
        if not children(parent):
            return True
        time.sleep(0.05)
    return False


def test_ctrl_c_ends_the_guarded_process_and_keeps_what_is_finished(plan, tmp_path, instead):
    instead("waits")
    run = tmp_path / "run"
    with pytest.raises(Interrupted, match=rf"finished batches are kept in {run}, and the same command goes on"):
        sheltered.assess(plan, run, progress=Signals(signal.SIGINT))
    assert Interrupted.exit_code == 130
    assert gone(os.getpid()) and len(batches(run)) == 1


def test_a_kill_ends_the_guarded_process_too(plan, tmp_path, instead):
    instead("waits")
    run = tmp_path / "run"
    assert gone(killed(lambda: sheltered.assess(plan, run, progress=Signals(signal.SIGKILL))))
    assert len(batches(run)) == 1


@pytest.mark.slow
def test_ctrl_c_and_a_kill_end_the_guarded_process_and_change_no_byte(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run, plain = tmp_path / "run", tmp_path / "plain"
    with pytest.raises(Interrupted, match=rf"finished batches are kept in {run}, and the same command goes on"):
        sheltered.assess(plan, run, progress=Signals(signal.SIGINT))
    assert not children(os.getpid())
    first = batches(run)
    assert first and not (run / "result.json").exists()
    parent = killed(lambda: sheltered.assess(plan, run, progress=Signals(signal.SIGKILL)))
    assert gone(parent)
    second = batches(run)
    assert len(second) > len(first) and not (run / "result.json").exists()
    result = sheltered.assess(plan, run)
    assert {path: batches(run)[path] for path in second} == second
    assert {path: second[path] for path in first} == first
    assert result.provenance["guard"][0] == "own process"
    unguarded.assess(plan, plain)
    told = []
    for folder in (run, plain):
        found = json.loads((folder / "result.json").read_text())
        found.pop("timing")
        found["provenance"].pop("guard", None)
        told.append(found)
    assert told[0] == told[1]
    rows = [pd.read_parquet(folder / "rows.parquet") for folder in (run, plain)]
    timed = [name for name in rows[0] if not rows[0][name].equals(rows[1][name])]
    assert set(timed) <= {"seconds"}
    images = [{file.name: file.read_bytes() for file in folder.glob("images/*/*.png")} for folder in (run, plain)]
    assert images[0] == images[1] and images[0]


def hostile(plan, secret, folder):
    """The plan with the port of somebody who listens, where a seed would be, and a link to its model."""
    (folder / "linked").mkdir()
    link = folder / "linked" / "model.onnx"
    link.symlink_to(plan.model.path)
    model = plan.model.model_copy(update={"path": str(link)})
    return plan.model_copy(update={"seed": secret.getsockname()[1], "model": model})


def test_what_runs_in_a_plans_work_reaches_the_runs_folder_alone(plan, tmp_path, monkeypatch, instead):
    monkeypatch.setenv("SHELTER_SECRET", "x")
    spec = spec_from_file_location("hostile_work", HERE / "hostile_work.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    model = Path(plan.model.path)
    before = model.read_bytes()
    for out in (tmp_path / "free", tmp_path / "held"):
        Path(f"{out}-secret").write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        mine = hostile(plan, listening, tmp_path)
        (tmp_path / "free").mkdir()
        free = module.work("assess", mine.model_dump(mode="json"), str(tmp_path / "free"), False, None)
        instead("work")
        held = sheltered._guarded("assess", mine, tmp_path / "held", overwrite=False, progress=SILENT)[0]
    assert set(free.values()) == {"done"}
    assert {name for name, outcome in held.items() if outcome == "done"} == {"write into the run", "read the model"}
    assert not (tmp_path / "held-outside").exists() and model.read_bytes() == before


def test_too_little_memory_names_what_sets_it_and_leaves_nothing(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("RADPROOF_GUARD_MEMORY", "0.1")
    with pytest.raises(BadModel, match=r"of memory, over its limit.*RADPROOF_GUARD_MEMORY sets the limit, in gigabyt"):
        sheltered.assess(plan, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("told", ["lots", "-1", "0", "nan", "inf", ""])
def test_memory_that_is_no_number_is_refused(plan, tmp_path, monkeypatch, told):
    monkeypatch.setenv("RADPROOF_GUARD_MEMORY", told)
    with pytest.raises(BadInput, match="is gigabytes as a number above zero"):
        sheltered.assess(plan, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bad_input_removes_a_new_folder_and_leaves_an_old_one(plan, tmp_path, monkeypatch):
    def refuses(task, given, **how):
        (Path(given["out"]) / "work").mkdir()
        raise BadModel("no")

    monkeypatch.setattr(sheltered, "guarded", refuses)
    old = tmp_path / "old"
    (old / "work" / "batches").mkdir(parents=True)
    (old / "work").rename(tmp_path / "aside")
    for out in (tmp_path / "new", old):
        with pytest.raises(BadModel, match=r"^no$"):
            sheltered.assess(plan, out)
    assert not (tmp_path / "new").exists()
    assert old.is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="is a file; choose another --out"):
        sheltered.assess(plan, tmp_path / "file")


def test_a_service_is_not_asked_from_a_guarded_process(plan, tmp_path):
    model = plan.model.model_copy(update={"path": None, "endpoint": SimpleNamespace(url="http://localhost")})
    mixed = plan.model_copy(update={"model": model, "surrogates": {"other": plan.model}})
    with pytest.raises(BadPlan, match="has no network"):
        sheltered.assess(mixed, tmp_path / "run")


def test_only_strangers_files_need_a_guard_and_only_outside_of_one(plan, tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    (own / "weights.safetensors").write_bytes(b"")
    mine = plan.model_copy(update={"model": plan.model.model_copy(update={"path": str(own)})})
    surrogate = mine.model_copy(update={"surrogates": {"other": plan.model}})
    assert [sheltered.needs_guard(one) for one in (plan, mine, surrogate)] == [True, False, True]
    monkeypatch.setenv("RADPROOF_GUARDED", "1")
    assert not sheltered.needs_guard(plan)


def test_a_folder_in_a_trained_models_place_keeps_nothing(plan, tmp_path, monkeypatch):
    def refuses(task, given, **how):
        for name in ("model", "hardened", *made):
            (Path(given["out"]) / name).mkdir(parents=True)
        raise BadModel("no")

    monkeypatch.setattr(sheltered, "guarded", refuses)
    made, recipe = [], {"surrogates": {"own": SimpleNamespace(path=None, train=SimpleNamespace(weights=None))}}
    for wanted, more, kept in ((plan, [], False), (plan, ["work/batches"], True), (plan, ["surrogates"], False)):
        made = more
        out = tmp_path / f"run{len(list(tmp_path.iterdir()))}-{kept}"
        with pytest.raises(BadModel, match=r"^no$"):
            sheltered.assess(wanted, out)
        assert out.exists() == kept
    dear = sheltered._dear(plan.model_copy(update=recipe))
    assert dear == ["work/batches", "surrogates"]


def test_a_weak_guard_is_told_and_doubted(plan, tmp_path, monkeypatch):
    level = ("own process", "resource limits", "read-only files (Landlock ABI 4)")
    told = []
    progress = SimpleNamespace(start=None, advance=None, note=told.append)
    monkeypatch.setattr(sheltered, "guarded", lambda *_, **__: Guarded(None, level))
    monkeypatch.setattr(sheltered, "read_result", lambda _: finished)
    finished = SimpleNamespace(provenance={}, doubts=())
    finished.model_copy = lambda update: SimpleNamespace(**update, model_dump_json=lambda indent: "{}")
    result = sheltered.assess(plan, tmp_path / "run", progress=progress)
    assert [(doubt.kind, doubt.severity, doubt.about) for doubt in result.doubts] == [("weak-guard", "note", "all")]
    assert told == [f"Weak guard: {result.doubts[0].message}"]
    assert result.doubts[0].message.startswith("the network could not be shut off")
    level = (*level, "no network sockets (seccomp)")
    assert sheltered.assess(plan, tmp_path / "run", progress=progress).doubts == () and len(told) == 1


@pytest.mark.parametrize("value", [{"x": 1}, [], "done", 3])
def test_answers_that_are_none_are_refused(plan, tmp_path, monkeypatch, value):
    monkeypatch.setattr(sheltered, "guarded", lambda *_, **__: Guarded(value, ("no network", "read-only files")))
    with pytest.raises(BadModel, match="its answers are not in order"):
        sheltered.certify_only(plan, tmp_path / "run")
    with pytest.raises(BadModel, match="its answers are not in order"):
        inspecting.inspected(plan.model, plan.data, tmp_path / "cache", "cpu")


def test_a_result_without_end_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "result.json").open("wb") as stream:
        stream.truncate(513 * 2**20)
    with pytest.raises(BadInput, match="more than the limit of 536,870,912"):
        sheltered.read_result(tmp_path)
