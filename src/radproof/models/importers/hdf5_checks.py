# SPDX-License-Identifier: Apache-2.0
"""What an HDF5 file holds, found without reading any data and without following any link.

Weights are plain numbers, stored whole in the file itself. Everything else that HDF5 can do is refused: links to other
files, datasets whose bytes lie elsewhere, filters that swell, and datasets that declare more than the file has.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from radproof.errors import BadInput, BadModel

NODES = 100_000  # groups, datasets and attributes in one file
ATTRIBUTE = 16 * 2**20  # bytes of one
TEXTS = 10_000  # of any length in one attribute: names of layers
DEPTH = 32  # of groups within groups


def open_hdf5(file: Path | BinaryIO, name: str) -> Any:
    """An h5py.File for reading. Raises BadModel where it is none or is cut short, BadInput without h5py."""
    try:
        import h5py
    except ImportError:
        raise BadInput("Keras files need two more packages: pip install 'radproof[keras]'") from None
    try:
        return h5py.File(file, "r")
    except (OSError, ValueError, RuntimeError):
        raise BadModel(f"{name}: its weights cannot be read as HDF5; the file is damaged or cut short") from None


def plain_datasets(file: Any, size: int, name: str) -> dict[str, int]:
    """Path -> number of elements of every dataset of an open file that is `size` bytes long.

    Raises BadModel, naming the place, for anything but groups, attributes and plain numbers.
    """
    try:
        found = dict(_walk(file, name))
    except BadModel:
        raise
    except Exception:  # whatever h5py raises for a broken structure
        raise BadModel(f"{name}: the structure of its weights is broken; save the model again") from None
    if sum(held for _, held in found.values()) > size:
        raise BadModel(f"{name} declares more bytes of weights than the file has; save the model again")
    return {path: elements for path, (elements, _) in found.items()}


def _walk(file: Any, name: str) -> Iterator[tuple[str, tuple[int, int]]]:
    import h5py

    waiting: list[tuple[str, Any, int]] = [("", file, 0)]
    seen: set[int] = {_place(file)}
    nodes = 0
    while waiting:
        path, group, depth = waiting.pop()
        nodes += _attributes(group, path, name)
        for child in group:
            nodes += 1
            where = f"{path}/{child}"
            if nodes > NODES or depth > DEPTH:
                raise BadModel(f"{name} holds more than {NODES} parts, or {DEPTH} levels of groups; it is no model")
            if not isinstance(group.get(child, getlink=True), h5py.HardLink):
                raise BadModel(f"{name}: {_shown(where)} is a link to another place or file; such links are refused")
            item = group[child]
            if _place(item) in seen:
                raise BadModel(f"{name}: {_shown(where)} stands in the file twice; save the model again")
            seen.add(_place(item))
            if isinstance(item, h5py.Group):
                waiting.append((where, item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                nodes += _attributes(item, where, name)
                yield where, _plain(item, where, name)
            else:
                raise BadModel(f"{name}: {_shown(where)} is neither a group nor a dataset; save the model again")


def _place(item: Any) -> int:
    from h5py import h5o  # pyright: ignore[reportAttributeAccessIssue]

    return int(h5o.get_info(item.id).addr)


def _plain(item: Any, where: str, name: str) -> tuple[int, int]:
    """Elements and bytes of a dataset; nothing of it is read."""
    from h5py import h5d, h5t  # pyright: ignore[reportAttributeAccessIssue]

    told, start = item.id.get_create_plist(), f"{name}: the dataset {_shown(where)}"
    if told.get_external_count() or told.get_layout() == h5d.VIRTUAL:
        raise BadModel(f"{start} takes its bytes from another file; such datasets are refused")
    if told.get_nfilters():
        raise BadModel(f"{start} is compressed, which Keras never does; repack it: h5repack -f NONE IN OUT")
    kind = item.id.get_type()
    if kind.get_class() not in (h5t.FLOAT, h5t.INTEGER) or kind.get_size() > 8:
        raise BadModel(f"{start} holds no plain numbers; weights are floats")
    elements = prod(item.shape or (1,))
    needed, held = elements * kind.get_size(), item.id.get_storage_size()
    if held < needed:
        raise BadModel(f"{start} declares {needed:,} bytes, and the file holds {held:,} of them; save the model again")
    return elements, needed


def _attributes(item: Any, where: str, name: str) -> int:
    from h5py import h5a, h5t  # pyright: ignore[reportAttributeAccessIssue]

    count = int(h5a.get_num_attrs(item.id))
    for index in range(min(count, NODES)):
        attribute = h5a.open(item.id, index=index)
        kind = attribute.get_type()
        text = kind.get_class() == h5t.STRING
        if not text and kind.get_class() not in (h5t.FLOAT, h5t.INTEGER, h5t.ENUM):
            raise BadModel(f"{name}: an attribute of {_shown(where)} is neither text nor numbers; save the model again")
        entries = prod(attribute.shape or (1,))
        varying = text and kind.is_variable_str()
        if entries * kind.get_size() > ATTRIBUTE or (varying and entries > TEXTS):
            raise BadModel(f"{name}: an attribute of {_shown(where)} is too large; save the model again")
    return count


def _shown(where: str) -> str:
    return ascii(where or "/")[:80]
