# SPDX-License-Identifier: Apache-2.0
"""A trained denoiser in front of one model (HGD: Liao et al., CVPR 2018, arXiv:1712.02976).

It is bound to the model that it was trained for by the model's fingerprint, and it has a gradient like any network: an
attacker who knows of it attacks both as one. It is made by `training/denoiser.py`, so no registry lists it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, ValidationError
from torch import Generator, Tensor

from radproof.core.files import sha256_file, write_text
from radproof.core.records import Record
from radproof.core.types import Backward
from radproof.defenses.checks import require_images
from radproof.defenses.denoiser_net import Dunet
from radproof.errors import BadModel
from radproof.models.weights import load_weights, save_weights, shapes_of

CARD = "denoiser.json"
WEIGHTS = "denoiser.safetensors"
_MOST_BYTES = 10_000_000  # of a card
_PORTION = 2**23  # pixels that pass the network at once
_HOLDS = f"a denoiser's folder holds {CARD} and {WEIGHTS}"

Width = Annotated[int, Field(ge=1, le=256, description="Channels at full resolution; doubled at every halving.")]
Depth = Annotated[int, Field(ge=1, le=5, description="How often the network halves the image.")]


class DenoiserEpoch(Record):
    """One pass over the training images; epoch 0 is before the first, when nothing is denoised yet."""

    epoch: int
    train_loss: float | None
    validation_loss: float


class Agreement(Record):
    """Share of validation images that the model answers as it answers the clean image."""

    clean: float  # clean images, denoised
    attacked: float  # adversarial images as they are
    denoised: float  # the same, denoised


class DenoiserCard(Record):
    """What denoiser.json says: the network, the model it belongs to, how it was trained and what it then did."""

    version: Literal[1] = 1
    width: Width
    depth: Depth
    model: str = Field(min_length=1, description="Fingerprint of the model it was trained for.")
    weights_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    recipe: dict[str, Any] = Field(default_factory=dict[str, Any])
    digest: str = ""  # of recipe, model and images
    history: tuple[DenoiserEpoch, ...] = ()
    agreement: Agreement | None = None


@dataclass(frozen=True)
class Denoiser:
    """Images plus what the network says, cut to [0, 1]. Implements core.types.Defense."""

    network: Dunet
    card: DenoiserCard
    deterministic: bool = field(default=True, init=False)
    differentiable: bool = field(default=True, init=False)
    ways: tuple[Backward, ...] = field(default=("twin",), init=False)
    votes: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False)

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor:
        """(N, C, H, W) in [0, 1] -> the same, denoised; nothing is drawn. Raises BadInput for what is no image."""
        require_images(x)
        with torch.no_grad():
            return denoised(self.network, x.detach())

    def surrogate(self, x: Tensor, *, rng: Generator) -> Tensor:
        """The same with its own gradient."""
        require_images(x.detach())
        return denoised(self.network, x)


def denoised(network: Dunet, x: Tensor) -> Tensor:
    """Images (N, C, H, W) in [0, 1] through a network, a portion at a time; in [0, 1], with a gradient."""
    if not x.numel():
        return x.clone()
    network.to(x.device)
    planes = x.to(network.last.weight.dtype).flatten(0, 1).unsqueeze(1)
    parts = planes.split(max(1, _PORTION // planes[0].numel()))
    change = torch.cat([network(part) for part in parts]).view(x.shape)
    return (x + change.to(x.dtype)).clamp(0, 1)


def save_denoiser(folder: Path, network: Dunet, card: DenoiserCard) -> DenoiserCard:
    """Write both files; the card comes last, so that a folder with a card is whole. Returns it as written."""
    (folder / CARD).unlink(missing_ok=True)
    save_weights(folder / WEIGHTS, network.state_dict())
    written = card.model_copy(update={"weights_sha256": sha256_file(folder / WEIGHTS)})
    write_text(folder / CARD, written.model_dump_json(indent=1) + "\n")
    return written


def load_denoiser(folder: Path, fingerprint: str, device: torch.device | str = "cpu") -> Denoiser:
    """Read a denoiser for the model with this fingerprint.

    Raises BadModel where it was trained for another model, or where files are missing, damaged or of another denoiser.
    """
    card = read_denoiser_card(folder)
    if card.model != fingerprint:
        raise BadModel(
            f"the denoiser in {folder.name} was trained for model {card.model[:12]}, the model here is "
            f"{fingerprint[:12]}; train one for this model"
        )
    network = Dunet(card.width, card.depth)
    weights = load_weights(folder / WEIGHTS, shapes_of(network.state_dict()))
    found = sha256_file(folder / WEIGHTS)
    if found != card.weights_sha256:
        raise BadModel(
            f"{WEIGHTS} is not the file that {CARD} names: sha256 {found[:12]}…, expected "
            f"{card.weights_sha256[:12]}…; restore the pair, or train again"
        )
    network.load_state_dict(weights)
    return Denoiser(network.to(device), card)


def read_denoiser_card(folder: Path) -> DenoiserCard:
    """Read denoiser.json alone. Raises BadModel where there is none, or it is none."""
    path = folder / CARD
    if not path.is_file():
        raise BadModel(f"{folder.name} holds no {CARD}; {_HOLDS}")
    if path.stat().st_size > _MOST_BYTES:
        raise BadModel(f"{CARD} is larger than {_MOST_BYTES} bytes; {_HOLDS}")
    try:
        return DenoiserCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "card"
        raise BadModel(f"{CARD}: {where}: {first['msg']}; {_HOLDS}") from None
