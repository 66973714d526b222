"""A card that a guarded process said is written as a card, or not at all."""

import pytest

from radproof.cli.models import _save
from radproof.errors import BadModel
from radproof.models.card import read_card_file


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "m.onnx"
    file.write_bytes(b"x")
    return file


def test_a_card_is_written_as_it_is_understood(model):
    thirds = "mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]"
    line = f"{{architecture: onnx, labels: [a, b], head: softmax, input_size: 32, {thirds}}}"
    said = _save(model, line)
    beside = model.with_name("m.card.yaml")
    assert said == f"Written: {beside}"
    assert read_card_file(beside).labels == ("a", "b") and len(beside.read_text().splitlines()) == 1
    assert _save(model, line).startswith("Not written")


@pytest.mark.parametrize(
    "line", ["", "#!/bin/sh", "{architecture: onnx}", "!!python/object:os.system {}", "a: &x [*x]"]
)
def test_what_is_no_card_is_not_written(model, line):
    with pytest.raises(BadModel):
        _save(model, line)
    assert not model.with_name("m.card.yaml").exists()
