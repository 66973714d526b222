# SPDX-License-Identifier: Apache-2.0
"""Where a denoiser's training stands after an epoch: one safetensors file, renamed into place, without pickle."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from radproof.core.files import write_bytes
from radproof.core.records import Record, canonical_json
from radproof.defenses.denoiser import DenoiserEpoch

_FILE = "checkpoint.safetensors"
_PROGRESS = "progress"


class _Told(Record):
    digest: str
    history: tuple[DenoiserEpoch, ...]


@dataclass(frozen=True)
class State:
    """All that the training needs to go on."""

    history: tuple[DenoiserEpoch, ...]
    network: Mapping[str, Tensor]
    best: Mapping[str, Tensor]  # the weights of the epoch with the lowest validation loss
    optimiser: Mapping[str, Tensor]


def save_state(folder: Path, digest: str, state: State) -> None:
    """Write it, replacing the one before. Raises StorageFull."""
    parts = {"network": state.network, "best": state.best, "optimiser": state.optimiser}
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for part, named in parts.items()
        for name, tensor in named.items()
    }
    told = canonical_json(_Told(digest=digest, history=state.history))
    write_bytes(folder / _FILE, safetensors.torch.save(tensors, metadata={_PROGRESS: told}))


def load_state(folder: Path, digest: str) -> State | None:
    """Read it; None where there is none, it is damaged, or recipe, model or images have changed."""
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimiser": {}}
    try:
        with safe_open(folder / _FILE, framework="pt") as file:
            told = _Told.model_validate_json((file.metadata() or {})[_PROGRESS])
            if told.digest != digest:
                return None
            for key in file.keys():  # noqa: SIM118 (a file is no mapping)
                part, _, name = key.partition(".")
                parts[part][name] = file.get_tensor(key)
    except (OSError, SafetensorError, KeyError, ValidationError):
        return None
    return State(told.history, **parts)


def remove_state(folder: Path) -> None:
    """Delete it, once the denoiser is saved."""
    (folder / _FILE).unlink(missing_ok=True)
