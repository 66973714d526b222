# SPDX-License-Identifier: Apache-2.0
"""NumPy arrays in zip archives from strangers: listing and headers are checked first, nothing is unpickled or unpacked.

An archive can promise far more than it holds; sizes told by the listing and by each array's header must agree.
"""

import math
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from threading import Lock
from typing import IO, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from radproof.core.depth import EIGHT
from radproof.data.images import StoredImage
from radproof.errors import BadData

MAX_BYTES = 64 * 1024**3  # of all arrays together, unpacked
MAX_RATIO = 200  # unpacked to packed: images shrink tenfold at most, bombs a thousandfold
_SMALL = 16 * 1024**2  # bytes; labels may shrink as they like
_LONGEST_HEADER = 10_000


class Reel:
    """An array (N, ...) read image by image: any order will do, ascending order is fast; safe for threads."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive, self._name, self._lock = archive, name, Lock()
        self._ahead: dict[int, bytes] = {}
        self._next = 0
        self._stream, self.shape, self.dtype = _opened(archive, name)
        self._each = math.prod(self.shape[1:]) * self.dtype.itemsize

    def image(self, index: int) -> StoredImage:
        """One of them, (H, W, C) uint8: grey where its channels agree."""
        with self._lock:
            raw = self._raw(index)
        pixels = np.frombuffer(raw, np.uint8).reshape(*self.shape[1:3], -1)
        same = bool((pixels == pixels[:, :, :1]).all())
        return StoredImage(pixels[:, :, :1] if same else pixels, EIGHT)

    def _raw(self, index: int) -> bytes:
        if index in self._ahead:
            return self._ahead.pop(index)
        if index < self._next:  # asked for again
            self._stream.close()
            self._stream, _, _ = _opened(self._archive, self._name)
            self._ahead, self._next = {}, 0
        while self._next <= index:
            self._ahead[self._next] = _exactly(self._stream, self._each, self._name)
            self._next += 1
        return self._ahead.pop(index)


class Archive:
    """An .npz file whose listing has been checked; to be used with `with`."""

    def __init__(self, path: Path, expected: Collection[str], *, max_bytes: int = MAX_BYTES) -> None:
        """Raises BadData for no zip archive, foreign or repeated members, and sizes beyond the limits."""
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise BadData(f"cannot read {path.name}: {error.strerror}; check the path") from None
        try:
            self._zip = zipfile.ZipFile(self._file)
            _check_listing(self._zip, expected, max_bytes)
        except BadData:
            self._file.close()
            raise
        except Exception as error:
            self._file.close()
            raise BadData(
                f"{path.name} is not a readable .npz file ({type(error).__name__}); download it again"
            ) from None
        self.names = frozenset(self._zip.namelist())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()  # which ends the streams of all members

    def reel(self, name: str) -> Reel:
        """An array to be read image by image."""
        return Reel(self._zip, name)

    def array(self, name: str, *, most: int) -> NDArray[np.generic]:
        """A whole array of at most so many bytes."""
        if name not in self.names:
            raise BadData(f"the archive lacks {name}; download it again")
        stream, shape, dtype = _opened(self._zip, name)
        size = math.prod(shape) * dtype.itemsize
        if size > most:
            raise BadData(f"{name} announces {size:,} bytes, more than the {most:,} that it may have")
        with stream:
            return np.frombuffer(_exactly(stream, size, name), dtype).reshape(shape)


def _check_listing(archive: zipfile.ZipFile, expected: Collection[str], max_bytes: int) -> None:
    members = archive.infolist()
    names = [member.filename for member in members]
    foreign = [name for name in names if name not in expected]
    if foreign or len(set(names)) < len(names):
        what = f"the foreign member {foreign[0][:60]!r}" if foreign else "a member twice"
        raise BadData(f"the archive holds {what}; expected {', '.join(sorted(expected))}, each once")
    for member in members:
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadData(f"{member.filename} is encrypted or packed unusually; give the archive as it was released")
        if member.file_size > max(_SMALL, MAX_RATIO * member.compress_size):
            raise BadData(
                f"{member.filename} would swell from {member.compress_size:,} to {member.file_size:,} bytes (a "
                "decompression bomb?); give the archive as it was released"
            )
    total = sum(member.file_size for member in members)
    if total > max_bytes:
        raise BadData(f"the archive holds {total:,} bytes unpacked, more than the limit of {max_bytes:,}")


def _opened(archive: zipfile.ZipFile, name: str) -> tuple[IO[bytes], tuple[int, ...], np.dtype[np.generic]]:
    """A member's stream behind its header, and what the header says."""
    try:
        stream = archive.open(name)
        version = npy.read_magic(stream)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran, dtype = read(stream, max_header_size=_LONGEST_HEADER)
    except Exception as error:  # NumPy reads headers with Python's own parser, which raises nearly anything
        raise BadData(f"{name} is not a NumPy array ({type(error).__name__}); download the archive again") from None
    size = math.prod(shape) * dtype.itemsize
    told = archive.getinfo(name).file_size
    if dtype.hasobject or dtype.kind not in "iubf":
        raise BadData(f"{name} holds {dtype.kind!r} objects, which could run code; expected plain numbers")
    if fortran or min(shape, default=0) < 1 or size != told - stream.tell():
        raise BadData(
            f"{name} announces {dtype} {shape}, {size:,} bytes; the archive lists {told:,}; download it again"
        )
    return stream, shape, dtype


def _exactly(stream: IO[bytes], size: int, name: str) -> bytes:
    try:
        raw = stream.read(size)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadData(f"{name} is damaged ({type(error).__name__}); download the archive again") from None
    if len(raw) < size:
        raise BadData(f"{name} ends too early; download the archive again")
    return raw
