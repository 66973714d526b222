# SPDX-License-Identifier: Apache-2.0
"""From a file to the stream its data set lies in: preamble, file meta information, transfer syntax, inflation."""

import io
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from radproof.data.dicom.scan import Walker, known_vr
from radproof.data.dicom.syntax import EXPLICIT, IMPLICIT, Syntax, syntax_of
from radproof.errors import BadImage

MAX_INFLATED = 512 * 2**20  # bytes: twice what 64 million pixels of 16 bits need, and more
NOT_DICOM = (
    "the content is no DICOM file, whatever its name says; export it as DICOM, or import it as PNG, JPEG or TIFF"
)
_SYNTAX_UID = 0x00020010
_META_LENGTH = 8192  # bytes of one element of the meta information at most
_DISGUISES = (
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a Linux program"),
    (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"\xce\xfa\xed\xfe", "a macOS program"),
    (b"\xca\xfe\xba\xbe", "a Java or macOS program"),
    (b"#!", "a script"),
    (b"<", "a web page or XML"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF document"),
    (b"GIF8", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"II+\x00", "a TIFF image"),
    (b"MM\x00+", "a TIFF image"),
)
_ANYWHERE = (b"%PDF-", b"<script", b"<html", b"<svg", b"<?php")  # what browsers and PDF readers look for further on


@dataclass(frozen=True)
class Opened:
    """The stream that holds the data set, where it begins and how it is laid out."""

    stream: BinaryIO
    size: int
    start: int
    syntax: Syntax

    def walker(self) -> Walker:
        """A walker over the data set."""
        return Walker(self.stream, self.size, implicit=self.syntax.implicit, little=self.syntax.little)


@contextmanager
def opened(path: Path) -> Generator[Opened]:
    """The data set of the file at `path`, inflated where it is deflated. Raises BadImage for what is no DICOM file."""
    if not path.is_file():
        raise BadImage("there is no such file; check the path")
    size = path.stat().st_size
    if size == 0:
        raise BadImage("the file is empty (0 bytes); copy or download it again")
    with path.open("rb", buffering=2**16) as stream:
        start, syntax = _start(stream, size)
        if not syntax.deflated:
            yield Opened(stream, size, start, syntax)
            return
        stream.seek(start)
        content = inflate(stream, MAX_INFLATED)
        yield Opened(content, content.getbuffer().nbytes, 0, syntax)


def is_dicom(path: Path) -> bool:
    """Whether the content of a file looks like DICOM, by its first bytes."""
    try:
        with path.open("rb") as stream:
            head = stream.read(132)
    except OSError:
        return False
    return head[128:] == b"DICM" or _bare(head) is not None


def inflate(stream: BinaryIO, most: int) -> io.BytesIO:
    """The rest of a raw deflate stream; raises BadImage where it is damaged or grows beyond `most` bytes."""
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    content = io.BytesIO()
    try:
        while not engine.eof:
            packed = engine.unconsumed_tail or stream.read(2**16)
            if not packed:
                raise BadImage("the deflated data set has no end; the file is truncated, copy or export it again")
            content.write(engine.decompress(packed, 2**20))
            if content.tell() > most:
                raise BadImage(
                    f"the deflated data set grows beyond {most // 2**20} MiB (a decompression bomb?); "
                    "export it as Explicit VR Little Endian"
                )
    except zlib.error:
        raise BadImage("the deflated data set is damaged; copy or export it again") from None
    return content


def _start(stream: BinaryIO, size: int) -> tuple[int, Syntax]:
    """Where the data set begins, and its syntax."""
    head = stream.read(132)
    if head[128:] != b"DICM":
        bare = _bare(head)
        if bare is None:
            raise BadImage(NOT_DICOM)
        return _after_meta(stream, size, 0) if bare == "meta" else (0, _guess(stream, 0))
    face = _other_face(head[:128])
    if face:
        raise BadImage(
            f"the 128 bytes before the DICOM header begin as {face}: a file with two faces is refused; "
            "overwrite its first 128 bytes with zeros if you trust where it came from"
        )
    if size <= 132:
        raise BadImage("the file ends after its first 132 bytes and holds no image; copy or export it again")
    return _after_meta(stream, size, 132)


def _other_face(preamble: bytes) -> str:
    """What else a file is by its preamble; "" for nothing known."""
    begins = preamble.lstrip()
    named = (name for magic, name in _DISGUISES if preamble.startswith(magic) or begins.startswith(magic))
    hidden = any(word in preamble.lower() for word in (mark.lower() for mark in _ANYWHERE))
    return next(named, "a document or web page" if hidden else "")


def _bare(head: bytes) -> str | None:
    """What a file without a preamble begins with: "meta", "data", or None where it is no DICOM file."""
    if head[:4] == b"\x02\x00\x00\x00" and head[4:6] == b"UL":
        return "meta"
    begins = len(head) >= 16 and head[0] == 8 and head[1] == 0 and head[3] == 0  # group 0008
    explicit = known_vr(head[4:6])
    short = head[6:8] == b"\x00\x00" and head[5] <= 1  # an implicit length below 512
    return "data" if begins and (explicit or short) else None


def _after_meta(stream: BinaryIO, size: int, start: int) -> tuple[int, Syntax]:
    """The position behind group 0002, and the syntax that it names."""
    walker = Walker(stream, size, implicit=False, little=True)
    at, uid = start, None
    while at + 8 <= size:
        stream.seek(at)
        if stream.read(2) != b"\x02\x00":
            break
        element = next(walker.elements(at))
        if element.tag == _SYNTAX_UID and element.end - element.value <= _META_LENGTH:
            stream.seek(element.value)
            uid = stream.read(element.end - element.value).decode("ascii", "replace").strip("\x00 ")
        at = element.end
    if at >= size:
        raise BadImage("the file ends behind its meta information and holds no image; copy or export it again")
    return at, _guess(stream, at) if uid is None else syntax_of(uid)


def _guess(stream: BinaryIO, at: int) -> Syntax:
    """Without a transfer syntax: little endian, explicit where the first element shows a VR."""
    stream.seek(at + 4)
    return EXPLICIT if known_vr(stream.read(2)) else IMPLICIT
