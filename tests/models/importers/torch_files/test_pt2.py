"""Exported programs read as data: what is taken, what is refused, and what must never run."""

import copy
import json
import pickle
import zipfile

import pytest
import torch
from networks_made import Small, images, to_pt2
from payloads import Payload, changed, pickled, ran, zipped
from torch import nn

from radproof.errors import BadModel
from radproof.models.importers.pt2 import read_pt2
from radproof.models.opening import read_network

pytestmark = pytest.mark.filterwarnings("ignore")
LOAD = "import sys, torch; torch.export.load(sys.argv[1])"


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Small().eval()


@pytest.fixture(scope="module")
def whole(network, tmp_path_factory):
    """A file that is in order, never changed."""
    return to_pt2(network, tmp_path_factory.mktemp("whole") / "a.pt2", side=16)


@pytest.fixture
def copied(whole, tmp_path):
    """copied(change): the file with its entries changed."""

    def make(change):
        path = tmp_path / "a.pt2"
        path.write_bytes(whole.read_bytes())
        return changed(path, change)

    return make


def entry(entries, end):
    return next(name for name in entries if name.endswith(end))


def edit(end, change):
    """A change of one JSON entry."""

    def run(entries):
        name = entry(entries, end)
        document = json.loads(entries[name])
        change(document)
        entries[name] = json.dumps(document)

    return run


def same(found, network, side=16):
    x = images(found.batch or 3, side)
    with torch.no_grad():
        assert torch.allclose(found.graph(x), network(x), atol=1e-5)


def test_a_whole_file(whole, network):
    found = read_network(whole, None)
    assert (found.channels, found.size, found.classes, found.batch, found.notes) == (3, (16, 16), 3, None, ())
    same(found, network)


def test_any_size(network, tmp_path):
    free = torch.export.Dim.AUTO
    program = torch.export.export(network, (images(2, 16),), dynamic_shapes=({0: free, 2: free, 3: free},))
    torch.export.save(program, tmp_path / "a.pt2")
    found = read_pt2(tmp_path / "a.pt2")
    assert found.size is None and found.batch is None
    same(found, network, side=40)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_number_of_images_is_widened_where_the_answers_stay(batch, network, tmp_path):
    found = read_pt2(to_pt2(network, tmp_path / "a.pt2", batch=batch, side=16))
    assert found.batch is None and any(f"takes {batch} at a time" in note for note in found.notes)
    same(found, network)


def test_a_number_of_images_stays_where_they_are_mixed(tmp_path):
    class Mixing(Small):
        def forward(self, x):
            return super().forward(x) + x.mean((1, 2, 3)).reshape(2, 2).mean(1).repeat(2)[:, None]

    network = Mixing().eval()
    found = read_pt2(to_pt2(network, tmp_path / "a.pt2", batch=4, side=16))
    assert found.batch == 4
    same(found, network)


def test_layers_left_in_training_mode_are_told(network, tmp_path):
    left = copy.deepcopy(network).train()
    found = read_pt2(to_pt2(left, tmp_path / "a.pt2", side=16))
    assert any("batch normalisation" in note for note in found.notes) and any("dropout" in n for n in found.notes)
    same(found, network)


def test_a_softmax_is_taken_off(network, tmp_path):
    found = read_pt2(to_pt2(nn.Sequential(network, nn.Softmax(1)).eval(), tmp_path / "a.pt2", side=16))
    assert found.head == "softmax"
    same(found, network)


def test_channels_last_and_one_channel(tmp_path):
    network = Small(channels=1).eval()
    found = read_pt2(to_pt2(network, tmp_path / "a.pt2", last=True, side=16, channels=1))
    assert found.channels == 1
    x = images(2, 16, 1)
    with torch.no_grad():
        assert torch.allclose(found.graph(x), network(x), atol=1e-5)


@pytest.mark.parametrize("layout", ["2.7", "2.8"])
def test_older_layouts(layout, whole, network, tmp_path):
    with zipfile.ZipFile(whole) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    (tmp_path / "w.pt").unlink(missing_ok=True)
    torch.save(dict(network.state_dict()), tmp_path / "w.pt")
    torch.save({}, tmp_path / "c.pt")
    weights, constants = (tmp_path / "w.pt").read_bytes(), (tmp_path / "c.pt").read_bytes()
    program = entries[entry(entries, "models/model.json")]
    older = {
        "version": b"8.8",
        "serialized_exported_program.json": program,
        "serialized_state_dict.pt": weights,
        "serialized_constants.pt": constants,
        "serialized_example_inputs.pt": b"",
    }
    if layout == "2.8":
        older = {
            "a/archive_format": b"pt2",
            "a/models/model.json": program,
            "a/data/weights/model.pt": weights,
            "a/data/constants/model.pt": constants,
        }
    same(read_pt2(zipped(tmp_path / "old.pt2", older)), network)


@pytest.mark.parametrize(
    ("network", "given", "why"),
    [
        (lambda a, b: a + b, (images(), images()), "takes 2 inputs"),
        (lambda a: (a.mean((2, 3)), a.mean((2, 3))[:, :2]), (images(),), "gives 2 outputs"),
        (lambda a: a.mean((2, 3)), (torch.rand(2, 7, 8, 8),), "expected images of 1 or 3 channels"),
        (lambda a: a * 2, (images(side=8),), r"expected \(N, K\)"),
    ],
)
def test_other_signatures_are_refused(network, given, why, tmp_path):
    class Wrapped(nn.Module):
        def forward(self, *x):
            return network(*x)

    torch.export.save(torch.export.export(Wrapped(), given), tmp_path / "a.pt2")
    with pytest.raises(BadModel, match=why):
        read_pt2(tmp_path / "a.pt2")


def expression(mark):
    """A size as an expression, which torch's loader evaluates."""

    def change(document):
        sizes = document["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
        sizes[0] = {"as_expr": {"expr_str": f"open({str(mark)!r}, 'w').write('ran')", "hint": {"as_int": 2}}}

    return edit("models/model.json", change)


def pickled_inputs(mark):
    def change(entries):
        entries[entry(entries, "sample_inputs/model.pt")] = saved({"a": Payload(mark)})

    return change


def pickled_weight(mark):
    def change(entries):
        edit("weights_config.json", lambda d: d["config"]["fc.bias"].update(use_pickle=True))(entries)
        path = json.loads(entries[entry(entries, "weights_config.json")])["config"]["fc.bias"]["path_name"]
        entries[entry(entries, f"weights/{path}")] = saved(Payload(mark))

    return change


def old_weights(mark):
    def change(entries):
        root = entry(entries, "archive_format").removesuffix("archive_format")
        del entries[entry(entries, "model_weights_config.json")]
        entries[f"{root}data/weights/model.pt"] = saved({"a": Payload(mark)})

    return change


def saved(value):
    import io

    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


ATTACKS = {"inputs": pickled_inputs, "weight": pickled_weight, "old": old_weights, "expression": expression}


@pytest.fixture(scope="module")
def attacks(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacks")
    jobs = {}
    for name, make in ATTACKS.items():
        path, mark = folder / f"{name}.pt2", folder / f"{name}.mark"
        path.write_bytes(whole.read_bytes())
        changed(path, make(mark))
        jobs[name] = (LOAD, path, mark)
    return jobs, dict(zip(jobs, ran(list(jobs.values())), strict=True))


@pytest.mark.parametrize("name", ATTACKS)
def test_what_torch_would_run_does_not_run(name, attacks, network):
    jobs, damage = attacks
    _, path, mark = jobs[name]
    assert damage[name]
    if name in ("inputs", "expression"):  # never opened: the network is good
        same(read_pt2(path), network)
    else:
        with pytest.raises(BadModel, match=r"can run code.*radproof model convert"):
            read_pt2(path)
    assert not mark.exists()


def target(name):
    return edit("models/model.json", lambda d: d["graph_module"]["graph"]["nodes"][0].update(target=name))


def meta(**told):
    return edit("weights_config.json", lambda d: d["config"]["fc.weight"]["tensor_meta"].update(told))


HUGE = [{"as_int": 1 << 20}, {"as_int": 1 << 19}]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (target("torch.ops.mylib.evil.default"), "'mylib.evil.default', which is not one of"),
        (target("torch.os.system"), "not one of"),
        (target("torch.hub.load"), "not one of"),
        (target("math.trunc.__call__"), "not one of"),
        (target("torch.ops.aten.from_file.default"), "not one of"),
        (target("torch.ops.aten.conv2d.__class__"), "not one of"),
        (target("torch.ops.higher_order.cond"), "not one of"),
        (target("_operator.methodcaller"), "not one of"),
        (meta(sizes=HUGE, strides=[{"as_int": 0}, {"as_int": 0}]), "over 18 numbers"),
        (meta(sizes=HUGE), "over 18 numbers"),
        (meta(storage_offset={"as_int": 1}), "over 18 numbers"),
        (meta(storage_offset={"as_int": -1}), "over 18 numbers"),
        (meta(sizes=[{"as_int": 1 << 62}] * 2), "over 18 numbers"),
        (meta(sizes=[{"as_expr": {"expr_str": "1"}}] * 2), "damaged"),
        (meta(dtype=99), "no data of a known kind"),
        (edit("weights_config.json", lambda d: d["config"].pop("fc.weight")), "lacks the weights fc.weight"),
        (edit("models/model.json", lambda d: d.pop("graph_module")), "not as torch writes it"),
        (edit("models/model.json", lambda d: d["graph_module"]["graph"]["nodes"].pop(0)), "not as torch writes it"),
        (lambda e: e.update({entry(e, "models/model.json"): b"[" * 100_000}), "no JSON"),
        (lambda e: e.update({entry(e, "models/model.json"): b"\xff"}), "no JSON"),
        (lambda e: e.update({"a/data/aotinductor/model/x.so": b"\x7fELF"}), "compiled code"),
        (lambda e: e.update({entry(e, "models/model.json").replace("model.json", "b.json"): b"{}"}), "2 programs"),
        (lambda e: e.update({"../x": b""}), "points outside"),
        (lambda e: e.update({"a/code/evil.py": b"", "a/constants.pkl": pickled({})}), "TorchScript"),
        (lambda e: e.update({"a/.data/extern_modules": b""}), "Python code"),
        (lambda e: e.update({entry(e, "weights/weight_0"): b"\xff" * 864}), "NaN weights"),
    ],
)  # fmt: skip
def test_hostile_and_broken_files(change, why, copied, tmp_path):
    path = copied(change)
    with pytest.raises(BadModel, match=why) as caught:
        read_pt2(path)
    assert not isinstance(caught.value.__cause__, pickle.UnpicklingError)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt2"]


def test_a_squeezed_archive_is_a_bomb(whole, tmp_path):
    path = tmp_path / "a.pt2"
    with zipfile.ZipFile(whole) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["a/extra/zeros"] = b"\0" * 20_000_000
    zipped(path, entries, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(BadModel, match="compresses"):
        read_pt2(path)
