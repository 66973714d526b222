# SPDX-License-Identifier: Apache-2.0
"""Weights are read from safetensors files only, and only after names, shapes and kinds were found to fit.

A file's header says all of that, so a file that does not fit is refused before anything is allocated for it.
"""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from radproof.core.files import write_bytes
from radproof.errors import BadModel

Shapes = Mapping[str, tuple[int, ...]]
_FLOATING = ("F64", "F32", "F16", "BF16")


def shapes_of(tensors: Mapping[str, Tensor]) -> Shapes:
    """The shape of each tensor by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def save_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors, whole or not at all; equal tensors give equal bytes. Raises StorageFull."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    write_bytes(path, safetensors.torch.save(plain))


def load_weights(path: Path, expected: Shapes, *, ignored: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """The tensors of a file, exactly those expected; layers named in `ignored` may be there and are left out.

    Raises BadModel for a file that is missing, no safetensors file, does not fit, or holds NaN or infinite weights.
    """
    if not path.is_file():
        raise BadModel(f"no weights file {path.name}; expected a safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            there = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (a file is no mapping)
            kept = {name for name in there if name.rpartition(".")[0] not in ignored or name in expected}
            compare(path.name, {name: tuple(there[name].get_shape()) for name in kept}, expected)
            kinds = {name: there[name].get_dtype() for name in kept}
            refuse_integers(path.name, kinds)
            found = {name: file.get_tensor(name) for name in sorted(kept)}
    except (SafetensorError, OSError, ValueError) as error:
        raise BadModel(f"{path.name} is not a whole safetensors file: {error}") from None
    refuse_nan(path.name, found)
    # Older files lack the counters of batch normalisation, which only training with momentum None reads.
    return {**{name: torch.tensor(0) for name in expected if _counter(name)}, **found}


def compare(file: str, found: Shapes, expected: Shapes) -> None:
    """Raise BadModel unless names and shapes are those expected; counters of batch normalisation may be missing."""
    missing = sorted(name for name in expected if name not in found and not _counter(name))
    extra = sorted(name for name in found if name not in expected)
    if missing or extra:
        parts = [f"{what} {_first(names)}" for what, names in (("lacks", missing), ("has besides", extra)) if names]
        raise BadModel(f"{file} does not fit the architecture: it {' and '.join(parts)}; check the architecture")
    for name, shape in sorted(found.items()):
        if shape != expected[name]:
            raise BadModel(
                f"{file} does not fit the architecture: {name} has shape {shape}, expected {expected[name]}; "
                "check the architecture, the hidden layer and the classes"
            )


def _first(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def refuse_integers(file: str, kinds: Mapping[str, str]) -> None:
    """Raise BadModel for weights whose kind, as safetensors names it, is no floating-point one."""
    for name, kind in kinds.items():
        if kind not in _FLOATING and not _counter(name):
            raise BadModel(f"{file}: {name} is stored as {kind}, expected floating-point weights")


def refuse_nan(file: str, tensors: Mapping[str, Tensor]) -> None:
    """Raise BadModel for the first tensor that holds NaN or an infinity."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise BadModel(f"NaN weights or infinite ones in {file} ({name}); the training diverged or the file is bad")
