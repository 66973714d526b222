# SPDX-License-Identifier: Apache-2.0
"""One door to every kind of model file: radproof's own folder, or a file of another framework with its card.

A file's card stands beside it (model.onnx: model.card.yaml), in its folder (card.yaml, which names the file), or is
given. Without one, the usual conventions are assumed; preflight tries others before anything is measured.
Files of other frameworks are strangers': open them in a guarded process (core.guard).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from radproof.core.files import sha256_file
from radproof.core.types import Head
from radproof.errors import BadModel
from radproof.models.assembly import assembled, guessed
from radproof.models.card import CARD, WEIGHTS, ModelCard, load_model, read_card_file
from radproof.models.classifier import ImageClassifier
from radproof.models.imported import Imported

_ANY = "give radproof's own model folder, or a .safetensors, .pt, .pt2, .onnx, .keras or .h5 file"


@dataclass(frozen=True)
class Told:
    """What a user says of a stranger's file, beside the file."""

    card: Path | None = None
    architecture: str | None = None  # of a file that holds weights alone
    labels: Sequence[str] = ()  # of the data: a file without a card is taken to answer these
    head: Head = "softmax"
    images: Callable[[], Sequence[Tensor]] = tuple  # a few of the data's (C, H, W) in [0, 1], read where needed


def is_own(path: Path) -> bool:
    """Whether this is a folder as radproof writes it, in which nothing can run."""
    return path.is_dir() and (path / WEIGHTS).is_file()


def open_model(
    path: Path, device: torch.device | str = "cpu", told: Told | None = None
) -> tuple[ImageClassifier, ModelCard]:
    """A classifier, frozen and on the device, and its card. Raises BadModel for what cannot be used, and why."""
    told = told or Told()
    if is_own(path):
        if told.card or told.architecture:
            raise BadModel(f"{path.name} has a card of its own; leave card and architecture out")
        return load_model(path, device)
    from radproof.models.importers.kinds import what_is

    file = model_file(path)
    card = card_of(file, told)
    network = read_network(file, card.architecture if card else told.architecture)
    sha256 = sha256_file(file)
    if card is None:
        card = guessed(network, told.labels, told.head, architecture=told.architecture or what_is(file), name=file.name)
    elif card.imported and card.imported != sha256:
        raise BadModel(f"{file.name} is not the file that its card names: its sha256 is {sha256[:12]}…; check the pair")
    model = assembled(network, card).freeze()
    said = (*card.notes, *network.notes, *_proved(file, network, model, told), *_notes(network, card))
    card = card.model_copy(update={"imported": sha256, "file": file.name, "notes": tuple(dict.fromkeys(said))})
    return model.to(device), card


def model_file(path: Path) -> Path:
    """The stranger's file itself: as given, or as a folder's card names it."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise BadModel(f"there is no model at {path}; {_ANY}")
    if not (path / CARD).is_file():
        raise BadModel(f"{path.name} holds no {CARD}; {_ANY}")
    named = read_card_file(path / CARD).file
    if not named or Path(named).name != named or not (path / named).is_file():
        raise BadModel(f"{CARD} of {path.name} names no model file beside it (file:); {_ANY}")
    return path / named


def card_of(file: Path, told: Told) -> ModelCard | None:
    """The card that was given, or stands beside the file; None where there is none."""
    if told.card is not None:
        return read_card_file(told.card)
    beside = file.with_name(f"{file.stem}.card.yaml")
    if beside.is_file():
        return read_card_file(beside)
    common = file.with_name(CARD)
    if common.is_file():
        card = read_card_file(common)
        return card if card.file == file.name else None
    return None


def read_network(file: Path, architecture: str | None) -> Imported:
    """The network in a file, told by its content, never by its name."""
    from radproof.models.importers.kinds import what_is

    kind = what_is(file)
    if kind == "onnx":
        from radproof.models.importers.onnx import read_onnx

        return read_onnx(file)
    if kind == "pt2":
        from radproof.models.importers.pt2 import read_pt2

        return read_pt2(file)
    if kind in ("keras", "hdf5"):
        from radproof.models.importers.keras import read_keras

        return read_keras(file)
    from radproof.models.importers.state_dict import read_state_dict

    if kind in ("safetensors", "torch-zip") and not architecture:
        raise BadModel(
            f"{file.name} holds weights alone; say which network they are of: --architecture NAME, as timm names it, "
            "or torchvision:NAME"
        )
    return read_state_dict(file, architecture or "")  # refuses what could run, and says why


def _proved(file: Path, network: Imported, model: ImageClassifier, told: Told) -> tuple[str, ...]:
    """The proof of a converted file on images of the data, as the card shows them to the network."""
    from radproof.models.importers.kinds import what_is

    images = told.images() if what_is(file) == "onnx" else ()
    if not images:
        return ()
    from radproof.models.importers.onnx_parity import proved

    prepared = torch.cat([model.prepare(image[None]) for image in images])
    return (proved(file, network, prepared, one_each=model.head == "sigmoid"),)


def _notes(network: Imported, card: ModelCard) -> tuple[str, ...]:
    """What a reader of the card must know of how its answers are read."""
    if card.head == "softmax" and network.classes == 1:
        return (f"its one answer is read as {card.labels[1]} where it is above 0, else {card.labels[0]}",)
    if card.head == "softmax" and network.head == "sigmoid":
        return ("it ends in a sigmoid for each class, and is read as one class per image: the likeliest",)
    return ()
