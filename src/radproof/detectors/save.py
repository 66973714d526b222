# SPDX-License-Identifier: Apache-2.0
"""A guard is one safetensors file: tensors, and a JSON header that says what they are. Nothing in it runs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from radproof import __version__
from radproof.core.files import write_bytes
from radproof.core.records import Record, canonical_json
from radproof.core.types import Classifier
from radproof.detectors.calibrate import Thresholds
from radproof.detectors.fitted import restore
from radproof.detectors.guard import About, Choice, Grid, Guard, Sentry
from radproof.detectors.registry import detector
from radproof.detectors.sentry import KEPT
from radproof.errors import BadInput, BadModel

_KEY = "radproof.guard"
_LARGEST = 100_000_000  # bytes; a guard is some thousand numbers, with an autoencoder a million
_CLEAN = "clean"
_UNFIT = (RuntimeError, ValueError, KeyError, IndexError, TypeError)  # what tensors that do not go together end in


class SentryCard(Record):
    """A detector of the file, and the promise that it keeps."""

    choice: Choice
    thresholds: Thresholds


class GuardCard(Record):
    """The header: for which model and which images, from what, by which program."""

    version: Literal[1] = 1
    radproof: str = __version__
    about: About
    suspicion: SentryCard
    outside: SentryCard | None = None


def save_guard(path: Path, guard: Guard) -> GuardCard:
    """Write it, whole or not at all; equal guards give equal bytes. Raises BadInput for NaN, StorageFull."""
    own = {"suspicion": guard.suspicion} | ({"outside": guard.outside} if guard.outside else {})
    cards = {role: SentryCard(choice=one.choice, thresholds=one.thresholds) for role, one in own.items()}
    card = GuardCard(about=guard.about, suspicion=cards["suspicion"], outside=cards.get("outside"))
    tensors = {f"{role}/{name}": tensor for role, one in own.items() for name, tensor in _tensors(one).items()}
    _require_finite(path.name, tensors)
    write_bytes(path, save(tensors, metadata={_KEY: canonical_json(card)}))
    return card


def read_guard_card(path: Path) -> GuardCard:
    """The header alone. Raises BadInput for a file that is no guard."""
    return _read(path)[0]


def load_guard(path: Path, model: Classifier, *, model_fingerprint: str, grid: Grid | None = None) -> Guard:
    """Read it back for the model that it was made for, and if `grid` is given, for images of that kind.

    Raises BadModel for another model, BadInput for other images and for a file that is no whole guard, UnknownName
    when a detector's package is not installed.
    """
    card, tensors = _read(path)
    about = card.about
    if about.model_fingerprint != model_fingerprint:
        raise BadModel(
            f"{path.name} guards model {about.model_fingerprint[:12]}, the model here is {model_fingerprint[:12]}; "
            "make a guard for this model from clean images"
        )
    if grid is not None and grid != about.grid:
        raise BadInput(
            f"{path.name} was made for {about.grid}, the images here are {grid}; import them as those were, or make a "
            "guard for these"
        )
    _require_finite(path.name, tensors)
    roles = {"suspicion": card.suspicion} | ({"outside": card.outside} if card.outside else {})
    try:
        own = {role: _sentry(one, _under(role, tensors), model) for role, one in roles.items()}
        guard = Guard(model, about, **own)
        guard.screen(_grey(about.grid, model), views=[""])  # tensors of another layer fail here, not at the first image
    except _UNFIT as error:
        raise BadInput(
            f"{path.name} holds tensors that do not go together ({type(error).__name__}); {_AGAIN}"
        ) from None
    return guard


_AGAIN = "restore the file, or make the guard again"


def _tensors(sentry: Sentry) -> dict[str, Tensor]:
    state = {f"state/{name}": tensor.detach().cpu().contiguous() for name, tensor in sentry.fitted.state().items()}
    return {_CLEAN: sentry.clean.detach().cpu().contiguous()} | state


def _sentry(card: SentryCard, tensors: Mapping[str, Tensor], model: Classifier) -> Sentry:
    clean = tensors[_CLEAN].float()
    if clean.dim() != 1 or len(clean) > KEPT or not torch.equal(clean, clean.sort().values):
        raise BadInput(f"a guard keeps at most {KEPT} clean scores in order, got shape {tuple(clean.shape)}; {_AGAIN}")
    learner = detector[card.choice.name].make(card.choice.params)
    return Sentry(card.choice, restore(learner, model, _under("state", tensors)), card.thresholds, clean)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _grey(grid: Grid, model: Classifier) -> Tensor:
    weights = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.full(
        (1, grid.channels, grid.height, grid.width), 0.5, device=None if weights is None else weights.device
    )


def _require_finite(name: str, tensors: Mapping[str, Tensor]) -> None:
    broken = [key for key, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise BadInput(f"{name} holds NaN or infinite numbers ({broken[0]}); make the guard again from clean images")


def _read(path: Path) -> tuple[GuardCard, Mapping[str, Tensor]]:
    if not path.is_file():
        raise BadInput(f"no guard file {path.name}; `radproof guard` makes one")
    size = path.stat().st_size
    if size > _LARGEST:
        raise BadInput(f"{path.name} has {size} bytes, a guard file at most {_LARGEST}; `radproof guard` makes one")
    try:
        with safe_open(path, framework="pt") as stored:
            header = json.loads((stored.metadata() or {})[_KEY])
            return GuardCard.model_validate(header), {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadInput(f"{path.name} is no guard file of this version: {where}: {first['msg']}; {_AGAIN}") from None
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise BadInput(f"{path.name} is not a whole guard file ({type(error).__name__}); {_AGAIN}") from None
