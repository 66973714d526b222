import json
import struct

import pytest
import torch

from radproof.errors import BadModel
from radproof.models.weights import load_weights, save_weights, shapes_of

TENSORS = {"conv.weight": torch.arange(6.0).view(2, 3), "conv.bias": torch.ones(2)}
EXPECTED = shapes_of(TENSORS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.safetensors"


def raw(path, header, data=b""):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_round_trip_is_exact_and_equal_tensors_give_equal_bytes(path):
    save_weights(path, TENSORS)
    first = path.read_bytes()
    save_weights(path, dict(reversed(TENSORS.items())))
    assert path.read_bytes() == first
    assert all(torch.equal(value, TENSORS[name]) for name, value in load_weights(path, EXPECTED).items())


def test_channels_last_weights_are_saved_as_they_are(path):
    weight = torch.rand(4, 3, 3, 3).to(memory_format=torch.channels_last)
    save_weights(path, {"w": weight})
    assert torch.equal(load_weights(path, {"w": (4, 3, 3, 3)})["w"], weight)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"conv.weight": TENSORS["conv.weight"]}, "lacks conv.bias"),
        ({**TENSORS, "more": torch.ones(1)}, "has besides more"),
        ({**TENSORS, "conv.bias": torch.ones(3)}, r"conv.bias has shape \(3,\), expected \(2,\)"),
        ({**TENSORS, "conv.bias": torch.ones(2, dtype=torch.int8)}, "I8"),
        ({**TENSORS, "conv.bias": torch.tensor([1.0, float("nan")])}, "NaN weights"),
        ({**TENSORS, "conv.bias": torch.tensor([1.0, float("inf")])}, "infinite"),
    ],
)
def test_refuses_what_does_not_fit(path, tensors, words):
    save_weights(path, tensors)
    with pytest.raises(BadModel, match=words):
        load_weights(path, EXPECTED)


def test_layers_named_as_ignored_may_be_there(path):
    save_weights(path, {**TENSORS, "fc.weight": torch.ones(9, 9), "fc.bias": torch.ones(9)})
    assert load_weights(path, EXPECTED, ignored=("fc",)).keys() == TENSORS.keys()


def test_batch_norm_counters_may_be_missing(path):
    save_weights(path, TENSORS)
    found = load_weights(path, {**EXPECTED, "norm.num_batches_tracked": ()})
    assert found["norm.num_batches_tracked"] == 0


def test_missing_file(path):
    with pytest.raises(BadModel, match="no weights file"):
        load_weights(path, EXPECTED)


def test_a_header_that_promises_too_much_is_refused_before_reading(path):
    raw(path, {"conv.weight": {"dtype": "F32", "shape": [2**31, 2**20], "data_offsets": [0, 2**53]}})
    with pytest.raises(BadModel, match="not a whole safetensors file"):
        load_weights(path, EXPECTED)


@pytest.mark.parametrize("data", [b"", b"\x80\x04\x95 pickle", b"\xff" * 64, struct.pack("<Q", 2**60)])
def test_other_files_are_refused(path, data):
    path.write_bytes(data)
    with pytest.raises(BadModel, match="not a whole safetensors file"):
        load_weights(path, EXPECTED)


def test_a_file_cut_short_is_refused(path):
    save_weights(path, TENSORS)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(BadModel, match="not a whole safetensors file"):
        load_weights(path, EXPECTED)
