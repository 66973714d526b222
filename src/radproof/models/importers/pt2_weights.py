# SPDX-License-Identifier: Apache-2.0
"""Weights and constants of an exported program: raw bytes with a shape, or, in older files, a state_dict."""

import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from radproof.errors import BadModel
from radproof.models.importers.archives import read_entry
from radproof.models.importers.kinds import may_run
from radproof.models.importers.pt2_graph import DTYPES, Program, broken, integer
from radproof.models.importers.torch_files import memory, outside, tensors

_CONFIG = 2**26
_LARGEST = 2**35


@dataclass(frozen=True)
class Archive:
    """Where things are in a .pt2 file."""

    path: Path
    entries: Mapping[str, zipfile.ZipInfo]
    root: str
    program: str  # the entry with its JSON

    @property
    def model(self) -> str:
        """The program's name in the archive."""
        return Path(self.program).stem


def weights_of(archive: Archive, program: Program) -> dict[str, Tensor]:
    """Every tensor that the program names, by its name in the file. Raises BadModel for pickled ones, and bombs."""
    found = {**_part(archive, "weights", "state_dict"), **_part(archive, "constants", "constants")}
    missing = sorted(name for name in program.named if name not in found)
    if missing:
        raise BadModel(f"{archive.path.name} lacks the weights {', '.join(missing[:3])}; export the network again")
    return {name: found[name] for name in program.named}


def _part(archive: Archive, part: str, old: str) -> dict[str, Tensor]:
    config = f"{archive.root}data/{part}/{archive.model}_{part}_config.json"
    if config in archive.entries:
        return _raw(archive, config, f"{archive.root}data/{part}/")
    for name in (f"{archive.root}data/{part}/{archive.model}.pt", f"serialized_{old}.pt", f"serialized_{old}.json"):
        if name in archive.entries:
            return _state_dict(archive, name)
    return {}


def _raw(archive: Archive, config: str, folder: str) -> dict[str, Tensor]:
    file = archive.path.name
    try:
        told: dict[str, Any] = json.loads(read_entry(archive.path, config, _CONFIG))["config"]
        kept: dict[str, Tensor] = {}
        return {name: _tensor(archive, name, folder, payload, kept) for name, payload in told.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise broken(file, f"its table of {Path(config).name[:60]} is damaged", error) from None


def _tensor(archive: Archive, name: str, folder: str, payload: Mapping[str, Any], kept: dict[str, Tensor]) -> Tensor:
    file, entry = archive.path.name, folder + str(payload["path_name"])
    if payload["use_pickle"] is not False or payload["tensor_meta"] is None:
        raise BadModel(may_run(archive.path, f"{name[:80]!r} as a pickle"))
    told = payload["tensor_meta"]
    kind = DTYPES.get(told["dtype"])
    if entry not in archive.entries or kind is None:
        raise BadModel(f"{file} is damaged: {name[:80]!r} has no data of a known kind")
    shape, stride = ([integer(size) for size in told[key]] for key in ("sizes", "strides"))
    offset = integer(told["storage_offset"])
    held = archive.entries[entry].file_size // kind.itemsize
    declared = _meta(shape, stride, offset, kind)
    if declared is None or outside(declared, held):
        raise BadModel(f"{file} declares {name[:80]!r} as {tuple(shape)} over {held} numbers; it is refused")
    if math.prod(shape) == 0:
        return torch.empty(shape, dtype=kind)
    if entry not in kept:
        raw = bytearray(read_entry(archive.path, entry, _LARGEST))
        kept[entry] = torch.frombuffer(raw[: held * kind.itemsize], dtype=torch.uint8)
    return kept[entry].view(kind).as_strided(shape, stride, offset)


def _meta(shape: list[int], stride: list[int], offset: int, kind: torch.dtype) -> Tensor | None:
    if len(shape) != len(stride) or min([offset, *shape, *stride]) < 0 or max([offset, *shape, *stride]) > 2**40:
        return None
    try:
        return torch.empty(0, dtype=kind, device="meta").as_strided(shape, stride, offset)
    except RuntimeError:  # sizes that do not fit into 64 bits
        return None


def _state_dict(archive: Archive, name: str) -> dict[str, Tensor]:
    raw = read_entry(archive.path, name, _LARGEST)
    if not raw:
        return {}
    load: Callable[..., Any] = torch.load
    try:
        with FakeTensorMode():
            declared = list(tensors(load(io.BytesIO(raw), weights_only=True, map_location="cpu")))
        bomb = memory(declared) > len(raw)
        if bomb or any(outside(one, one.untyped_storage().nbytes() // one.element_size()) for one in declared):
            raise BadModel(f"{archive.path.name} declares more weights than it holds; it is refused")
        found = load(io.BytesIO(raw), weights_only=True, map_location="cpu")
    except BadModel:
        raise
    except Exception:  # a broken or forged pickle makes the unpickler raise anything
        raise BadModel(may_run(archive.path, f"{name[-60:]!r}, a pickle of more than weights")) from None
    if not isinstance(found, Mapping):
        raise BadModel(f"{archive.path.name} is damaged: {name[-60:]!r} holds no weights by name")
    return {str(key): value for key, value in cast(Mapping[Any, Any], found).items() if isinstance(value, Tensor)}
