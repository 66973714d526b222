# SPDX-License-Identifier: Apache-2.0
"""What a pickle would call, listed without opening it: advice for its owner, never a reason to accept a file.

Such lists have been passed again and again; nothing here is taken for harmless because it was not listed.
"""

import io
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path

from radproof.models.importers.kinds import what_is

MOST_BYTES = 50_000_000  # of one pickle looked at, and of a file's together
_MEMBERS = 50  # of an archive
_SHOWN = 20  # names
_LONGEST = 100  # letters of a name
_USUAL = ("torch", "collections", "numpy", "_codecs", "copyreg")
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS = ("GET", "BINGET", "LONG_BINGET")
_HOLD_PICKLES = (
    "torch-zip",
    "torch-legacy",
    "torch-tar",
    "torchscript",
    "torch-package",
    "pickle",
    "npy",
    "npz",
    "zip",
)


def advice(file: Path) -> tuple[str, ...]:
    """A sentence for each thing that a file's pickles call and that weights do not need; none where none was seen."""
    if what_is(file) not in _HOLD_PICKLES:
        return ()
    found: dict[str, None] = {}
    for pickle in _pickles(file):
        for name in _called(pickle):
            if name.split(".")[0] not in _USUAL:
                found[_plain(name)] = None
    return tuple(f"its pickle calls {name}, which weights do not need" for name in list(found)[:_SHOWN])


def _plain(name: str) -> str:
    """Names are the file's own: nothing in them may steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:_LONGEST])


def _pickles(file: Path) -> Iterator[bytes]:
    if not zipfile.is_zipfile(file):
        with file.open("rb") as stream:
            yield stream.read(MOST_BYTES)
        return
    left = MOST_BYTES
    try:
        with zipfile.ZipFile(file) as archive:
            members = [one for one in archive.infolist() if one.filename.endswith((".pkl", ".pt", ".pth", ".npy"))]
            for member in members[:_MEMBERS]:
                with archive.open(member) as stream:
                    held = stream.read(left)
                left -= len(held)
                yield held
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, EOFError):
        return  # damaged, encrypted or packed in an unknown way


def _called(held: bytes) -> Iterator[str]:
    """Names of what pickles import, one after another, as far as their operations tell."""
    stream = io.BytesIO(held)
    if held.startswith(b"\x93NUMPY"):
        stream.seek(held.find(b"\n") + 1)  # the array's own header ends with its line
    while stream.tell() < len(held):  # torch once wrote several, and payloads hide in the later ones
        before = stream.tell()
        try:
            yield from _of_one(stream)
        except Exception:
            return  # no pickle, or one that its makers broke on purpose: what was seen counts
        if stream.tell() == before:
            return


def _of_one(stream: io.BytesIO) -> Iterator[str]:
    recent: list[str] = []  # strings as they come onto the stack
    kept: dict[int, str] = {}
    latest = ""
    for operation, argument, _ in pickletools.genops(stream):
        name = operation.name
        if name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".")
        elif name == "STACK_GLOBAL" and len(recent) >= 2:
            yield ".".join(recent[-2:])
        elif name in _PUTS or name == "MEMOIZE":
            kept[argument if isinstance(argument, int) else len(kept)] = latest
            continue
        elif name in _GETS and isinstance(argument, int):
            recent.append(kept.get(argument, "?"))
        elif isinstance(argument, str):
            recent.append(argument)
        del recent[:-8]
        latest = recent[-1] if recent and (name in _GETS or isinstance(argument, str)) else ""
