# SPDX-License-Identifier: Apache-2.0
"""Changed images as DICOM files of their own: the same change in stored values, a new identity, nobody's name."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radproof import __version__
from radproof.core.depth import Depth
from radproof.core.files import atomic
from radproof.data.dicom.back import Grid, restore
from radproof.data.dicom.burn import Box, burn
from radproof.data.dicom.derived import Told, class_of, spacing, tell
from radproof.data.dicom.display import Display
from radproof.data.dicom.grey import write_display, write_pixels
from radproof.data.dicom.read import DicomImage
from radproof.data.dicom.uids import Identity, identity, uid
from radproof.data.images import StoredImage
from radproof.errors import BadInput

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True)
class Whose:
    """Whose the written image is: hashed together into a pseudonym and UIDs, never written themselves."""

    patient: str  # anything that tells patients apart
    root: str = ""  # sets one export apart from another: what only its maker knows
    number: int = 1  # of the image within its series


@dataclass(frozen=True)
class Written:
    """One written file."""

    path: Path
    who: Identity
    box: Box | None  # where text was burnt in


def write_dicom(
    path: Path,
    changed: Grid,
    *,
    original: DicomImage,
    told: Told,
    whose: Whose,
    eps: float | None = None,
    burnt: bool = False,
) -> Written:
    """Write `changed`, grey levels (H, W) on the original's grid, as an image derived from `original`.

    Bits, sign, polarity, rescaling and window are the original's; values outside its window and of unchanged pixels
    are its own. `eps` bounds what a non-linear display may do to a pixel. `burnt`: ADVERSARIAL TEST IMAGE is drawn into
    the pixels, and no budget holds there. Raises BadInput for colour and where the shapes or grids do not fit.
    """
    if original.raw.ndim != 2:
        raise BadInput("only grey images are written as DICOM; this original is in colour")
    display, facts = original.display, original.facts
    stored, box = restore(changed, original.raw, display, eps=eps), None
    if burnt:
        stored, box = burn(stored, *_ends(display))
    dataset = _dataset()
    write_pixels(dataset, stored, facts)
    spacing(dataset, facts)
    write_display(dataset, stored, facts, display)
    who = _identity(stored, original, told, whose)
    tell(dataset, facts, who, told, box=box)
    dataset.InstanceNumber = whose.number
    _write(path, dataset)
    return Written(path, who, box)


def as_levels(original: DicomImage, levels: Grid, depth: Depth) -> DicomImage:
    """An original whose stored values are the grey levels (H, W) themselves, to be written as Secondary Capture.

    For images that were resampled, which have no stored values to go back to.
    """
    facts = original.facts.model_copy(
        update={
            "sop_class": "",
            "rows": levels.shape[0],
            "columns": levels.shape[1],
            "bits_allocated": depth.bits,
            "bits_stored": depth.top.bit_length(),
            "high_bit": depth.top.bit_length() - 1,
            "signed": False,
            "photometric_interpretation": "MONOCHROME2",
            "presentation_lut_shape": "",
            "rescale_slope": None,
            "rescale_intercept": None,
            "window_centers": (),
            "window_widths": (),
            "pixel_spacing": (),
            "imager_pixel_spacing": (),
        }
    )
    stored = StoredImage(levels.astype(np.uint8 if depth.bits == 8 else np.uint16)[:, :, None], depth)
    return DicomImage(stored, levels.astype(np.int32), Display(0, depth.top), facts, original.sha256)


def _ends(display: Display) -> tuple[int, int]:
    """The stored values that are shown darkest and brightest."""
    dark, bright = display.low, display.high
    if display.table is not None:
        dark, bright = display.low + int(np.argmin(display.table)), display.low + int(np.argmax(display.table))
    return (bright, dark) if display.inverted else (dark, bright)


def _dataset() -> "Dataset":
    from pydicom.dataset import Dataset

    return Dataset()


def _identity(stored: Grid, original: DicomImage, told: Told, whose: Whose) -> Identity:
    """The same for the same input; a series has one modality and one SOP class."""
    content = hashlib.sha256(np.ascontiguousarray(stored, dtype="<i4").tobytes()).hexdigest()
    series = json.dumps((told.series, original.facts.modality, class_of(original.facts)))
    return identity(whose.root, whose.patient, series, json.dumps((original.sha256, content, told.text)))


def _write(path: Path, dataset: "Dataset") -> None:
    from pydicom import dcmwrite
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(uid("implementation"))
    meta.ImplementationVersionName = f"RADPROOF_{__version__}"[:16]
    with atomic(path) as temporary:
        file = FileDataset(str(temporary), dataset, preamble=b"\x00" * 128, file_meta=meta)
        dcmwrite(temporary, file, enforce_file_format=True, overwrite=True)
