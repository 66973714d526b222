# SPDX-License-Identifier: Apache-2.0
"""One image out of a DICOM file: what the house sees, what the file stores, and what leads from one to the other."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radproof.core.depth import EIGHT
from radproof.core.files import sha256_file
from radproof.data.dicom.deidentify import Facts, facts_of
from radproof.data.dicom.display import Display, Voi, check_voi, display_of
from radproof.data.dicom.header import Header, NoImage, read_header
from radproof.data.dicom.look import read_look
from radproof.data.dicom.opened import is_dicom
from radproof.data.dicom.pixels import read_frame
from radproof.data.images import StoredImage, read_image
from radproof.data.pool import room_for
from radproof.errors import BadImage


@dataclass(frozen=True)
class DicomImage:
    """One frame of a DICOM file."""

    stored: StoredImage  # grey levels on the display's grid, or 8-bit RGB
    raw: NDArray[np.int32]  # (H, W) stored values; (H, W, 3) in 0..255 for colour
    display: Display
    facts: Facts
    sha256: str  # of the file

    def sidecar(self) -> dict[str, Any]:
        """What stands beside the PNG, as plain JSON: how it was shown, the technique and the source's hash."""
        return {
            "display": asdict(self.display) | {"top": self.stored.top, "held": self.stored.depth.held},
            "facts": self.facts.model_dump(mode="json"),
            "sha256": self.sha256,
        }


def read_dicom(path: Path, *, frame: int = 0, voi: Voi = "file") -> DicomImage:
    """Decode one frame of the DICOM file at `path` and show it by modality LUT, VOI LUT and polarity.

    `voi`: "file", "full", "minmax" or (centre, width) in modality units; colour ignores it. Opens strangers' bytes with
    native decoders: call it in a guarded child process. Raises BadImage for all that is not one readable image within
    the limits, BadInput for a frame or a `voi` that cannot be; messages hold nothing of a patient.
    """
    try:
        header = read_header(path)
    except NoImage as error:
        raise BadImage(str(error)) from None
    return decode(header, frame=frame, voi=voi, sha256=sha256_file(path))


def decode(header: Header, *, frame: int, voi: Voi, sha256: str) -> DicomImage:
    """As `read_dicom`, behind a header that was read before."""
    with room_for(header.shape.rows * header.shape.columns):
        return _decoded(header, frame, check_voi(voi), sha256)


def _decoded(header: Header, frame: int, voi: Voi, sha256: str) -> DicomImage:
    facts = facts_of(header, frame)
    if not header.shape.grey:
        raw = read_frame(header, frame)
        same = bool((raw == raw[:, :, :1]).all())  # a radiograph saved carelessly
        stored = StoredImage((raw[:, :, :1] if same else raw).astype(np.uint8), EIGHT)
        return DicomImage(stored, raw, Display(0, EIGHT.top), facts, sha256)
    look = read_look(header.dataset, header.shape, frame, voi=voi == "file")
    raw = read_frame(header, frame)
    display = display_of(look, header.shape, raw, voi)
    return DicomImage(display.shown(raw), raw, display, facts, sha256)


def image_of(path: Path, *, frame: int = 0, voi: Voi = "file") -> StoredImage:
    """The pixels of one file, DICOM, PNG, JPEG or TIFF, told by its content. Raises BadImage."""
    if path.is_file() and is_dicom(path):
        return read_dicom(path, frame=frame, voi=voi).stored
    return read_image(path)
