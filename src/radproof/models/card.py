# SPDX-License-Identifier: Apache-2.0
"""A model is a folder of two files: weights.safetensors, and card.yaml that says what they are and what they can.

Model cards: Mitchell et al., "Model Cards for Model Reporting", FAccT 2019. The card repeats the sha256 of the weights,
so that a report names exactly the network it is about, and neither file holds anything that runs.
"""

from pathlib import Path
from typing import Annotated, Any

import torch
import yaml
from pydantic import Field, ValidationError

from radproof.core.files import sha256_file, write_text
from radproof.errors import BadModel
from radproof.models.blueprint import Blueprint
from radproof.models.classifier import ImageClassifier
from radproof.models.weights import load_weights, save_weights
from radproof.models.zoo import expected_shapes, from_blueprint

CARD = "card.yaml"
WEIGHTS = "weights.safetensors"
_MOST_BYTES = 1_000_000  # of a card
_MOST_LISTS = 2000
_HOLDS = f"a model folder holds {CARD} and {WEIGHTS}, as `radproof train` writes them"


class ModelCard(Blueprint):
    """What card.yaml says: the blueprint, where the network comes from, and what it was measured to do."""

    version: Annotated[int, Field(ge=1, le=1)] = 1
    name: str = Field(default="", max_length=200, description="What people call it.")
    licence: str = Field(default="", max_length=200, description="Under which its weights may be used.")
    data: str = Field(default="", description="What it was trained on, in words.")
    data_fingerprint: str = Field(default="", description="sha256 over the training manifest.")
    phantom: bool = Field(default=False, description="Whether it was trained on drawn images, for demonstration only.")
    images: dict[str, int] = Field(default={}, description="How many it was trained and validated on.")
    metrics: dict[str, float | None] = Field(default={}, description="On the validation fold, by name.")
    shortcuts: dict[str, float] = Field(default={}, description="AUROC of what is not anatomy, by name.")
    recipe: dict[str, Any] | None = Field(default=None, description="The training recipe.")
    created_by: str = Field(default="", description="Program and version.")
    file: str = Field(default="", max_length=255, description="The imported file beside the card, if it is one.")
    notes: tuple[str, ...] = Field(default=(), description="What was done to an imported file, in words.")
    weights_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$", description="Of weights.safetensors.")

    @property
    def blueprint(self) -> Blueprint:
        """The part that the network is built from."""
        return Blueprint(**{name: getattr(self, name) for name in Blueprint.model_fields})


def save_model(folder: Path, model: ImageClassifier, card: ModelCard) -> ModelCard:
    """Write a model folder; the card comes last, so that a folder with a card is whole. Returns the card as written.

    What the card says of the network is taken from the model itself. Raises BadModel for NaN weights, StorageFull.
    """
    weights = model.state_dict()
    broken = [name for name, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise BadModel(f"NaN weights or infinite ones ({broken[0]}): the training diverged; lower the learning rate")
    (folder / CARD).unlink(missing_ok=True)
    save_weights(folder / WEIGHTS, weights)
    digest = sha256_file(folder / WEIGHTS)
    written = card.model_copy(update={**dict(model.blueprint), "weights_sha256": digest})
    text = yaml.safe_dump(written.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(folder / CARD, text)
    return written


def load_model(folder: Path, device: torch.device | str = "cpu") -> tuple[ImageClassifier, ModelCard]:
    """Read a model folder, frozen and on the device.

    Raises BadModel where files are missing, the weights are not those that the card names, do not fit its
    architecture or its classes, or are NaN; UnknownName for an unknown architecture.
    """
    card = read_card(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise BadModel(f"{folder.name} holds no {WEIGHTS}; {_HOLDS}")
    _same_weights(path, card)
    weights = load_weights(path, expected_shapes(card.blueprint))
    model = from_blueprint(card.blueprint)
    model.load_state_dict(weights)
    return model.to(device).freeze(), card


def read_card(folder: Path) -> ModelCard:
    """Read a model folder's card alone. Raises BadModel naming the entry that is wrong."""
    if not folder.is_dir():
        raise BadModel(f"no model folder at {folder}; {_HOLDS}")
    if not (folder / CARD).is_file():
        raise BadModel(f"{folder.name} holds no {CARD}; {_HOLDS}")
    return read_card_file(folder / CARD)


def read_card_file(path: Path) -> ModelCard:
    """Read a card by its path. Raises BadModel naming the entry that is wrong."""
    if not path.is_file():
        raise BadModel(f"there is no card {path}; write one with `radproof model check`")
    if path.stat().st_size > _MOST_BYTES:
        raise BadModel(f"{path.name} is larger than {_MOST_BYTES} bytes; {_HOLDS}")
    try:
        return ModelCard.model_validate(_plain_yaml(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "card"
        raise BadModel(f"{CARD}: {where}: {first['msg']}, got {_short(first.get('input'))}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise BadModel(f"{CARD} is not YAML ({type(error).__name__}); {_HOLDS}") from None


def _plain_yaml(text: str) -> Any:
    # A parser's time grows with the square of the depth, and a compiled one may crash: no card needs as many lists.
    if sum(text.count(opener) for opener in ("[", "{", "- ", "? ")) > _MOST_LISTS:
        raise BadModel(f"{CARD} holds more than {_MOST_LISTS} lists or entries of lists; {_HOLDS}")
    # An alias repeats what it points at, so a few lines of them can stand for gigabytes.
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
        raise BadModel(f"{CARD} uses YAML aliases, which cards may not; write the values out")
    return yaml.safe_load(text)


def _same_weights(path: Path, card: ModelCard) -> None:
    if not card.weights_sha256:
        raise BadModel(f"{CARD} does not name the sha256 of {WEIGHTS} (weights_sha256); add it: `sha256sum {WEIGHTS}`")
    found = sha256_file(path)
    if found != card.weights_sha256:
        raise BadModel(
            f"{WEIGHTS} is not the file that {CARD} names: sha256 {found[:12]}…, expected "
            f"{card.weights_sha256[:12]}…; restore the pair, or train again"
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
