# SPDX-License-Identifier: Apache-2.0
"""A Keras file taken apart before Keras sees it: its configuration as JSON, and how many weights it holds."""

import io
import json
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from radproof.errors import BadModel
from radproof.models.importers.hdf5_checks import open_hdf5, plain_datasets

CONFIG = 16 * 2**20  # bytes of JSON
WEIGHTS = 4 * 2**30  # bytes of weights
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MEMBERS = {"metadata.json": 2**20, "config.json": CONFIG, "model.weights.h5": WEIGHTS}
_RATIO = 100
_WHOLE = "save the whole model, model.save('model.keras')"


@dataclass(frozen=True)
class KerasFile:
    """What stands in the file; nothing of it has run."""

    path: Path
    zipped: bool  # .keras; else HDF5
    config: dict[str, Any]  # as in the file: not yet checked
    elements: int  # weights that it holds


def open_keras_file(path: Path) -> KerasFile:
    """Raises BadModel for whatever is not a plain .keras or .h5 file, and says why."""
    with path.open("rb") as stream:
        start = stream.read(8)
    if start.startswith(b"PK"):
        return _zipped(path)
    if start == _HDF5:
        return _legacy(path)
    raise BadModel(f"{path.name} is neither a .keras nor an .h5 file of Keras; {_WHOLE}")


def _zipped(path: Path) -> KerasFile:
    try:
        with zipfile.ZipFile(path) as archive:
            _listing(archive, path)
            config, weights = archive.read("config.json"), archive.read("model.weights.h5")
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError):
        raise BadModel(f"{path.name} is damaged or cut short: it cannot be unpacked; copy it again") from None
    if not weights.startswith(_HDF5):
        raise BadModel(f"{path.name}: model.weights.h5 is no HDF5 file; {_WHOLE}")
    with open_hdf5(io.BytesIO(weights), path.name) as file:
        found = plain_datasets(file, len(weights), path.name)
    elements = sum(count for place, count in found.items() if not place.startswith("/optimizer"))
    return KerasFile(path, True, _json(config, path.name), elements)


def _listing(archive: zipfile.ZipFile, path: Path) -> None:
    """Raises BadModel unless the archive holds the three files of a Keras model, each once and as large as told."""
    members = archive.infolist()
    names = [member.filename for member in members]
    if strange := [name for name in names if name not in _MEMBERS]:
        raise BadModel(
            f"{path.name} holds {ascii(strange[0])[:80]}, which no Keras image model has; a .keras file holds "
            f"{', '.join(_MEMBERS)} and nothing else"
        )
    if len(set(names)) < len(names):
        raise BadModel(f"{path.name} holds a file twice; {_WHOLE}")
    if missing := {"config.json", "model.weights.h5"} - set(names):
        raise BadModel(f"{path.name} holds no {sorted(missing)[0]}; {_WHOLE}")
    for member in members:
        if stat.S_ISLNK(member.external_attr >> 16) or member.flag_bits & 1:
            raise BadModel(f"{path.name}: {member.filename} is a link or encrypted; {_WHOLE}")
        if member.file_size > min(_MEMBERS[member.filename], _RATIO * member.compress_size + 2**16):
            raise BadModel(f"{path.name}: {member.filename} would grow to {member.file_size:,} bytes; it is refused")
    if sum(member.compress_size for member in members) > path.stat().st_size:
        raise BadModel(f"{path.name}: its parts overlap; {_WHOLE}")


def _legacy(path: Path) -> KerasFile:
    with open_hdf5(path, path.name) as file:
        found = plain_datasets(file, path.stat().st_size, path.name)
        if "model_config" not in file.attrs:
            raise BadModel(f"{path.name} holds weights without the network that they belong to; {_WHOLE}")
        config = file.attrs["model_config"]
    elements = sum(count for place, count in found.items() if place.startswith("/model_weights/"))
    return KerasFile(path, False, _json(config, path.name), elements)


def _json(text: object, name: str) -> dict[str, Any]:
    if not isinstance(text, bytes | str) or len(text) > CONFIG:
        raise BadModel(f"{name}: its configuration is no text of at most {CONFIG >> 20} MiB; {_WHOLE}")
    try:
        config = json.loads(text)
    except RecursionError:
        raise BadModel(f"{name}: its configuration is nested without end; it is refused") from None
    except ValueError:
        raise BadModel(f"{name}: its configuration is no JSON; {_WHOLE}") from None
    if not isinstance(config, dict):
        raise BadModel(f"{name}: its configuration describes no network; {_WHOLE}")
    return cast(dict[str, Any], config)
