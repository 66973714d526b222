# SPDX-License-Identifier: Apache-2.0
"""A fitted detector is one safetensors file: tensors, and a JSON header that says what they are. Nothing in it runs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from radproof.core.files import atomic
from radproof.core.records import Record, canonical_json
from radproof.core.types import Classifier
from radproof.detectors.calibrate import Threshold
from radproof.detectors.registry import Stored, detector
from radproof.errors import BadInput, BadModel

_KEY = "radproof.detector"
_LARGEST = 100_000_000  # bytes; a detector is a few hundred numbers


class DetectorCard(Record):
    """Which detector, with which parameters, for which model, calibrated how."""

    version: int = 1
    name: str
    params: dict[str, Any] = Field(default_factory=dict[str, Any])
    model_fingerprint: str
    threshold: Threshold | None = None


def save_detector(path: Path, card: DetectorCard, fitted: Stored) -> None:
    """Write it, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in fitted.state().items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata={_KEY: canonical_json(card)})


def load_detector(path: Path, model: Classifier, *, model_fingerprint: str) -> tuple[Stored, DetectorCard]:
    """Read it back for the model it was fitted with.

    Raises BadInput for a file that is no detector, BadModel when it was fitted with another model, UnknownName when
    the detector's package is not installed.
    """
    card, tensors = _read(path)
    if card.model_fingerprint != model_fingerprint:
        raise BadModel(
            f"this {card.name} detector was fitted with model {card.model_fingerprint[:12]}, the model here is "
            f"{model_fingerprint[:12]}; fit it again on clean images with this model"
        )
    return detector[card.name].make(card.params).restore(model, tensors), card


def _read(path: Path) -> tuple[DetectorCard, Mapping[str, Tensor]]:
    if not path.is_file() or path.stat().st_size > _LARGEST:
        raise BadInput(f"{path.name} is not a detector file; expected a safetensors file written by radproof")
    try:
        with safe_open(path, framework="pt") as stored:
            about = json.loads((stored.metadata() or {})[_KEY])
            return DetectorCard.model_validate(about), {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, ValidationError) as error:
        raise BadInput(f"{path.name} is not a detector file ({type(error).__name__}); fit and save one first") from None
