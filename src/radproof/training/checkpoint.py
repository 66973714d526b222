# SPDX-License-Identifier: Apache-2.0
"""Where a training stands after an epoch, in one safetensors file: tensors, and the history as its text.

One file, renamed into place, so that weights, optimiser and history can never be of different epochs; and no pickle,
so that it can be read without trusting it.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from radproof.core.files import write_bytes
from radproof.core.records import canonical_json
from radproof.training.history import History

FOLDER = "checkpoint"
_FILE = "state.safetensors"
_HISTORY = "history"


@dataclass(frozen=True)
class Checkpoint:
    """All that a training needs to go on."""

    history: History
    model: Mapping[str, Tensor]
    best: Mapping[str, Tensor]  # the weights of the epoch with the lowest validation loss
    optimiser: Mapping[str, Tensor]  # "0.exp_avg", … ; empty before fine-tuning


def save(folder: Path, state: Checkpoint) -> None:
    """Write it, replacing the one before. Raises StorageFull."""
    parts = {"model": state.model, "best": state.best, "optimiser": state.optimiser}
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for part, named in parts.items()
        for name, tensor in named.items()
    }
    data = safetensors.torch.save(tensors, metadata={_HISTORY: canonical_json(state.history)})
    write_bytes(folder / FOLDER / _FILE, data)


def load(folder: Path, digest: str) -> Checkpoint | None:
    """Read it; None where there is none, it is damaged, or recipe or data have changed: then training starts afresh."""
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimiser": {}}
    try:
        with safe_open(folder / FOLDER / _FILE, framework="pt") as file:
            history = History.model_validate_json((file.metadata() or {})[_HISTORY])
            if history.digest != digest:
                return None
            for key in file.keys():  # noqa: SIM118 (a file is no mapping)
                part, _, name = key.partition(".")
                parts[part][name] = file.get_tensor(key)
    except (OSError, SafetensorError, KeyError, ValidationError):
        return None
    return Checkpoint(history, **parts)


def remove(folder: Path) -> None:
    """Delete it, once the model is saved."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimiser remembers of each parameter, under the parameter's number."""
    state: dict[int, dict[str, Tensor]] = optimiser.state_dict()["state"]
    return {f"{index}.{name}": tensor for index, kept in state.items() for name, tensor in kept.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser of the same parameters its memory back."""
    parameters: list[Tensor] = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        index = int(number)
        state.setdefault(index, {})[name] = _laid_out_like(parameters[index], tensor)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _laid_out_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    # Fused optimisers walk parameter and memory in step, so both must lie in memory in the same order.
    return tensor if tensor.shape != parameter.shape else torch.empty_like(parameter.detach()).copy_(tensor)
