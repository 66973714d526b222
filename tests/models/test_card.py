import hashlib

import pytest
import torch
import yaml
from safetensors.torch import load_file

from radproof.errors import BadModel, UnknownName
from radproof.models.card import CARD, WEIGHTS, ModelCard, load_model, read_card, save_model
from radproof.models.weights import save_weights


@pytest.fixture
def card(tiny):
    return ModelCard(
        **dict(tiny.blueprint),
        name="test",
        licence="CC0",
        data="phantoms (12 images of 12 patients)",
        phantom=True,
        metrics={"accuracy": 0.5, "auroc": None},
        shortcuts={"thumbnail": 0.6},
        recipe={"lr": 1e-5, "augment": {"flip": False}},
        created_by="radproof test",
    )


@pytest.fixture
def folder(tmp_path, tiny, card):
    save_model(tmp_path / "model", tiny.calibrate(1.5), card)
    return tmp_path / "model"


def change(folder, **entries):
    raw = yaml.safe_load((folder / CARD).read_text())
    (folder / CARD).write_text(yaml.safe_dump({**raw, **entries}))


def rewrite(folder, **tensors):
    """Other weights, with the card's sha256 made to fit."""
    save_weights(folder / WEIGHTS, {**load_file(folder / WEIGHTS), **tensors})
    change(folder, weights_sha256=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest())


def test_round_trip_gives_the_same_answers_and_the_same_card(folder, tiny, card, images):
    model, read = load_model(folder)
    assert torch.equal(model(images), tiny(images))
    assert model.fingerprint() == tiny.fingerprint()
    assert read == card.model_copy(update={"temperature": 1.5, "weights_sha256": read.weights_sha256})
    assert read.weights_sha256 == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_saving_again_gives_the_same_bytes_and_leaves_nothing_else(folder, tiny, card):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    save_model(folder, tiny, card)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert before.keys() == {CARD, WEIGHTS}


def test_nan_weights_are_neither_written_nor_read(folder, tiny, card, tmp_path):
    rewrite(folder, **{"top.classes.bias": torch.tensor([0.0, float("nan"), 0.0])})
    with pytest.raises(BadModel, match=r"NaN weights.*top\.classes\.bias"):
        load_model(folder)
    with torch.no_grad():
        tiny.top.classes.bias[1] = float("inf")
    with pytest.raises(BadModel, match="NaN weights"):
        save_model(tmp_path / "other", tiny, card)
    assert not (tmp_path / "other").exists()


def test_class_count_must_be_that_of_the_weights(folder):
    change(folder, labels=["a", "b"])
    with pytest.raises(BadModel, match=r"top\.classes\.bias has shape \(3,\), expected \(2,\)"):
        load_model(folder)


def test_a_huge_network_in_the_card_is_refused_by_the_file_before_anything_is_built(folder):
    change(folder, hidden=65536)
    with pytest.raises(BadModel, match="does not fit the architecture"):
        load_model(folder)


def test_other_weights_than_the_cards_are_refused(folder):
    path = folder / WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadModel, match=r"is not the file that card\.yaml names"):
        load_model(folder)


def test_a_card_without_the_sha256_is_refused(folder):
    change(folder, weights_sha256="")
    with pytest.raises(BadModel, match="sha256"):
        load_model(folder)


@pytest.mark.parametrize("name", [CARD, WEIGHTS])
def test_missing_files_are_named_with_what_a_model_folder_holds(folder, name):
    (folder / name).unlink()
    with pytest.raises(BadModel, match=rf"holds no {name}; a model folder holds"):
        load_model(folder)


def test_missing_folder(tmp_path):
    with pytest.raises(BadModel, match=r"no model folder.*a model folder holds"):
        load_model(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"head": "tail"}, "head"),
        ({"temperature": 0}, "temperature"),
        ({"colour": "blue"}, "colour"),
        ({"version": 2}, "version"),
        ({"std": [0]}, "std"),
        ({"labels": "abc"}, "labels"),
        ({"metrics": {"accuracy": float("nan")}}, "metrics"),
    ],
)
def test_wrong_entries_are_named(folder, entries, words):
    change(folder, **entries)
    with pytest.raises(BadModel, match=words):
        read_card(folder)


def test_unknown_architecture_in_a_card(folder):
    change(folder, architecture="cxrnett")
    with pytest.raises(UnknownName, match="cxrnet"):
        load_model(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1, 2", "not YAML"),
        ("- 1\n- 2\n", "card"),
        ("a: &x [1, 1]\nb: [*x, *x]\n", "aliases"),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
        ("[" * 300, "not YAML"),
        ("[" * 100_000, "lists"),
        ("- " * 100_000, "lists"),
        ("x" * 1_000_001, "larger"),
    ],
)
def test_hostile_cards(folder, text, words):
    (folder / CARD).write_text(text)
    with pytest.raises(BadModel, match=words):
        read_card(folder)


def test_the_card_is_there_only_when_the_weights_are(folder, tiny, card, monkeypatch):
    def full(*_args, **_options):
        raise OSError("disk full")

    monkeypatch.setattr("radproof.models.card.save_weights", full)
    with pytest.raises(OSError, match="disk full"):
        save_model(folder, tiny, card)
    assert not (folder / CARD).exists()
