# SPDX-License-Identifier: Apache-2.0
"""What a pickle would call, listed without opening it: advice for its owner, never a reason to accept a file.

Such lists have been passed again and again; nothing here is taken for harmless because it was not listed.
"""

import io
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path

MOST_BYTES = 50_000_000  # of one pickle looked at
_USUAL = ("torch", "collections", "numpy", "_codecs", "copyreg")
_STRINGS = ("SHORT_BINUNICODE", "BINUNICODE", "UNICODE", "BINUNICODE8")


def advice(file: Path) -> tuple[str, ...]:
    """A sentence for each thing that a file's pickles call and that weights do not need; none where none was seen."""
    found: dict[str, None] = {}
    for pickle in _pickles(file):
        for name in _called(pickle):
            if name.split(".")[0] not in _USUAL:
                found[name] = None
    return tuple(f"its pickle calls {name}, which weights do not need" for name in list(found)[:20])


def _pickles(file: Path) -> Iterator[bytes]:
    if not zipfile.is_zipfile(file):
        with file.open("rb") as stream:
            yield stream.read(MOST_BYTES)
        return
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.filename.endswith((".pkl", ".pt", ".pth")) and member.file_size <= MOST_BYTES:
                yield archive.read(member)


def _called(pickle: bytes) -> Iterator[str]:
    """Names of what a pickle imports, as far as its operations tell."""
    recent: list[str] = []
    try:
        for operation, argument, _ in pickletools.genops(io.BytesIO(pickle)):
            if operation.name == "GLOBAL":
                yield str(argument).replace(" ", ".")
            elif operation.name == "STACK_GLOBAL" and len(recent) >= 2:
                yield ".".join(recent[-2:])
            elif operation.name in _STRINGS:
                recent.append(str(argument))
    except Exception:
        return  # no pickle, or one that its makers broke on purpose: what was seen counts
