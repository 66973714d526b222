# SPDX-License-Identifier: Apache-2.0
"""The transfer syntaxes that are read, and nothing else: known before a byte of the data set is looked at."""

from dataclasses import dataclass
from typing import Literal

from radproof.errors import BadImage

Codec = Literal["native", "rle", "jpeg", "jpeg-ls", "jpeg2000"]


@dataclass(frozen=True)
class Syntax:
    """How a file is laid out and how its pixels are packed."""

    uid: str
    name: str
    codec: Codec = "native"
    implicit: bool = False
    little: bool = True
    deflated: bool = False
    lossy: bool = False

    @property
    def encapsulated(self) -> bool:
        """Whether pixels come as fragments of codestreams."""
        return self.codec != "native"


_BASE = "1.2.840.10008.1.2"
IMPLICIT = Syntax(_BASE, "Implicit VR Little Endian", implicit=True)
EXPLICIT = Syntax(f"{_BASE}.1", "Explicit VR Little Endian")
SYNTAXES = (
    IMPLICIT,
    EXPLICIT,
    Syntax(f"{_BASE}.1.99", "Deflated Explicit VR Little Endian", deflated=True),
    Syntax(f"{_BASE}.2", "Explicit VR Big Endian", little=False),
    Syntax(f"{_BASE}.4.50", "JPEG Baseline (Process 1)", "jpeg", lossy=True),
    Syntax(f"{_BASE}.4.51", "JPEG Extended (Process 2 and 4)", "jpeg", lossy=True),
    Syntax(f"{_BASE}.4.57", "JPEG Lossless (Process 14)", "jpeg"),
    Syntax(f"{_BASE}.4.70", "JPEG Lossless (Process 14, Selection Value 1)", "jpeg"),
    Syntax(f"{_BASE}.4.80", "JPEG-LS Lossless", "jpeg-ls"),
    Syntax(f"{_BASE}.4.81", "JPEG-LS Near-Lossless", "jpeg-ls", lossy=True),
    Syntax(f"{_BASE}.4.90", "JPEG 2000 Lossless Only", "jpeg2000"),
    Syntax(f"{_BASE}.4.91", "JPEG 2000", "jpeg2000", lossy=True),
    Syntax(f"{_BASE}.5", "RLE Lossless", "rle"),
)
_BY_UID = {syntax.uid: syntax for syntax in SYNTAXES}


def syntax_of(uid: str) -> Syntax:
    """The syntax by its UID; raises BadImage naming those that are read."""
    found = _BY_UID.get(uid)
    if found is None:
        shown = uid if uid and len(uid) <= 64 and set(uid) <= set("0123456789.") else "that is no UID"
        raise BadImage(
            f"the transfer syntax {shown} is not read; convert the file to Explicit VR Little Endian "
            "(dcmdjpeg, gdcmconv --raw), known are: " + ", ".join(syntax.name for syntax in SYNTAXES)
        )
    return found
