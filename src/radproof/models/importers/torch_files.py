# SPDX-License-Identifier: Apache-2.0
"""Tensors in files of torch, looked at before any is allocated, and read by an unpickler that knows weights alone.

A file's pickle says how much memory each tensor wants; that is walked with tensors that have a shape and no memory.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from radproof.errors import BadModel
from radproof.models.importers.archives import listing
from radproof.models.importers.kinds import Kind, may_run

Tree = Mapping[str, Any]
_DEPTH = 8
_FORBIDDEN = re.compile(r"(?:GLOBAL|type|class) ([A-Za-z_][\w.]{0,99})")


def declared(path: Path, kind: Kind) -> Tree:
    """What a file holds, its tensors without memory. Raises BadModel where it declares more than it has, or could run.

    kind: safetensors, torch-zip or torch-legacy.
    """
    if kind == "safetensors":
        return _header(path)
    if kind == "torch-zip":
        listing(path)
    with FakeTensorMode():
        found = _loaded(path, mmap=False)
    _refuse_bombs(path, found)
    return found


def stored(path: Path, kind: Kind) -> Tree:
    """The same with its tensors; call `declared` first."""
    if kind != "safetensors":
        return _loaded(path, mmap=kind == "torch-zip")
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BadModel(f"{path.name} is not a whole safetensors file: {error}") from None


def tensors(found: Any, depth: int = 0) -> Iterator[Tensor]:
    """All tensors in nested mappings and lists."""
    if isinstance(found, Tensor):
        yield found
    elif depth < _DEPTH and isinstance(found, Mapping | list | tuple):
        inner = cast(Mapping[str, Any], found).values() if isinstance(found, Mapping) else cast(list[Any], found)
        for part in inner:
            yield from tensors(part, depth + 1)


def outside(tensor: Tensor, held: int) -> bool:
    """Whether a tensor wants more numbers than `held`, or other ones: by its size, its strides or its beginning."""
    if any(size < 0 or stride < 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True)):
        return True
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return bool(tensor.numel() > held or (tensor.numel() > 0 and int(tensor.storage_offset()) + last >= held))


def memory(found: Iterable[Tensor]) -> int:
    """How many bytes tensors want together; those that share memory count once."""
    storages = [tensor.untyped_storage() for tensor in found]
    return sum({cast(Any, storage)._cdata: storage.nbytes() for storage in storages}.values())


def _header(path: Path) -> Tree:
    try:
        with safe_open(path, framework="pt") as file:
            there = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (a file is no mapping)
            kinds = {name: _KINDS.get(part.get_dtype()) for name, part in there.items()}
            strange = next((name for name, kind in kinds.items() if kind is None), None)
            if strange is not None:
                raise BadModel(f"{path.name}: {strange[:80]!r} is of a kind of numbers that no weights have")
            return {
                name: torch.empty(part.get_shape(), dtype=cast(torch.dtype, kinds[name]), device="meta")
                for name, part in there.items()
            }
    except (SafetensorError, OSError, ValueError, RuntimeError, OverflowError) as error:
        raise BadModel(f"{path.name} is not a whole safetensors file: {error}") from None


_KINDS: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def _loaded(path: Path, *, mmap: bool) -> Tree:
    load: Callable[..., Any] = torch.load
    try:
        found = load(str(path), map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # a broken or forged pickle makes the unpickler raise anything
        said = str(error)
        forbidden = _FORBIDDEN.search(said) if "weights" in said.lower() else None
        if forbidden:
            raise BadModel(may_run(path, f"more than weights ({forbidden[1]})")) from None
        reason = " ".join(said.split())[:160]
        raise BadModel(f"{path.name} is not a whole torch file: {type(error).__name__}: {reason}") from None
    if not isinstance(found, Mapping):
        raise BadModel(f"{path.name} holds a {type(found).__name__}; expected a state_dict: names and their weights")
    return cast(Tree, found)


def _refuse_bombs(path: Path, found: Tree) -> None:
    for tensor in tensors(found):
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise BadModel(f"{path.name} holds sparse or quantised tensors; save the network with ordinary weights")
        storage = tensor.untyped_storage()
        if outside(tensor, storage.nbytes() // tensor.element_size()):
            raise BadModel(
                f"{path.name} declares a tensor of shape {tuple(tensor.shape)} over {storage.nbytes()} bytes: shapes "
                "and contents do not go together"
            )
    size, wanted = path.stat().st_size, memory(tensors(found))
    if wanted > size:
        raise BadModel(f"{path.name} declares {wanted} bytes of weights and holds {size}; it is refused")
