# SPDX-License-Identifier: Apache-2.0
"""What a DICOM file says of its image, read and checked before a pixel is touched.

Only the elements named here reach the parser, as few bytes cut out of the file. The data set that comes back holds
names and dates: it stays in this package, is never shown, and leaves it as `deidentify.Facts`.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radproof.data.dicom.opened import Opened, opened
from radproof.data.dicom.quiet import quiet, whole
from radproof.data.dicom.scan import UNDEFINED
from radproof.data.dicom.shape import Shape, read_shape
from radproof.data.dicom.syntax import Syntax
from radproof.data.dicom.values import registered_name, values_of
from radproof.errors import BadImage

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PIXELS, FLOATS, DOUBLES = 0x7FE00010, 0x7FE00008, 0x7FE00009
PLAIN_BYTES, SEQUENCE_BYTES = 2**16, 4 * 2**20  # of one element at most
_SEQUENCES = (
    "ModalityLUTSequence",
    "VOILUTSequence",
    "ViewCodeSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
)
_PLAIN = re.findall(
    r"\w+",
    """
    SpecificCharacterSet SOPClassUID SOPInstanceUID SeriesInstanceUID Modality ImageType BodyPartExamined ViewPosition
    Laterality ImageLaterality PatientID IssuerOfPatientID PatientAge PatientSex KVP Exposure ExposureTime
    InstanceNumber ImagePositionPatient ImageOrientationPatient PixelSpacing ImagerPixelSpacing
    SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns BitsAllocated BitsStored
    HighBit PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit RescaleSlope RescaleIntercept RescaleType
    WindowCenter WindowWidth VOILUTFunction PresentationLUTShape LossyImageCompression LossyImageCompressionRatio
    LossyImageCompressionMethod BurnedInAnnotation PatientOrientation PixelIntensityRelationship
    PixelIntensityRelationshipSign RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor
    BluePaletteColorLookupTableDescriptor
    """,
)


class NoImage(BadImage):
    """A DICOM file of another kind: a report, a presentation state, a directory."""


@dataclass(frozen=True)
class Header:
    """One checked file: its data set without pixels, the shape of its pixels and where they lie."""

    path: Path = field(repr=False)
    syntax: Syntax
    shape: Shape
    pixels_at: int
    pixels_length: int  # UNDEFINED where they are encapsulated
    pixels_vr: str
    dataset: "Dataset" = field(repr=False)  # never to be shown: holds names and dates

    def text(self, keyword: str) -> str:
        """The first value of an element as text, "" where absent or unreadable."""
        values = self.values(keyword)
        return str(values[0]).strip("\x00 ") if values else ""

    def values(self, keyword: str) -> list[Any]:
        """All values of an element, [] where absent or unreadable."""
        return values_of(self.dataset, keyword)


def read_header(path: Path, *, also: Sequence[str] = ()) -> Header:
    """The header of the file at `path`, with the elements of the keywords `also` besides.

    Raises BadImage for what is no DICOM image within the limits; NoImage where a sound DICOM file holds none.
    """
    whole()
    try:
        with opened(path) as source:
            return _read(path, source, also)
    except BadImage:
        raise
    except Exception as error:
        # Messages of the parser quote values, and values are names and dates.
        raise BadImage(f"the DICOM header is damaged ({type(error).__name__}); copy or export the file again") from None


def _read(path: Path, source: Opened, also: Sequence[str]) -> Header:
    from pydicom.datadict import tag_for_keyword
    from pydicom.filereader import read_dataset

    limits = {tag_for_keyword(word): PLAIN_BYTES for word in (*_PLAIN, *also)}
    limits |= {tag_for_keyword(word): SEQUENCE_BYTES for word in _SEQUENCES}
    kept = bytearray()
    pixels = None
    for element in source.walker().elements(source.start, until=frozenset((PIXELS, FLOATS, DOUBLES))):
        if element.tag in (PIXELS, FLOATS, DOUBLES):
            pixels = element
        elif element.tag in limits:
            if element.end - element.start > limits[element.tag]:
                group, number = element.tag >> 16, element.tag & 0xFFFF
                raise BadImage(
                    f"element ({group:04X},{number:04X}) is {element.end - element.start:,} bytes long; at most "
                    f"{limits[element.tag]:,} are read"
                )
            source.stream.seek(element.start)
            kept += source.stream.read(element.end - element.start)
    syntax = source.syntax
    with quiet():
        dataset = read_dataset(io.BytesIO(bytes(kept)), syntax.implicit, syntax.little)
    if pixels is None:
        kind = _kind(dataset)
        raise NoImage(f"the file is DICOM but holds no image{kind}; give the images themselves")
    if pixels.tag != PIXELS:
        raise BadImage("the file holds floating-point pixels, which no radiograph has; export it with whole numbers")
    shape = read_shape(dataset)
    _check_length(source, syntax, shape, pixels.value, pixels.length)
    return Header(path, syntax, shape, pixels.value, pixels.length, pixels.vr.decode("ascii"), dataset)


def _kind(dataset: "Dataset") -> str:
    known = [registered_name(str(uid)) for uid in values_of(dataset, "SOPClassUID")[:1]]
    return f" ({known[0]})" if any(known) else ""


def _check_length(source: Opened, syntax: Syntax, shape: Shape, at: int, length: int) -> None:
    """The pixels that the header announces must be there, and in the form that the transfer syntax says."""
    if syntax.encapsulated:
        if length != UNDEFINED:
            raise BadImage(
                f"the transfer syntax {syntax.name} packs pixels in fragments, but the file holds plain ones; "
                "its transfer syntax is wrong"
            )
        return
    if length == UNDEFINED:
        raise BadImage(f"the transfer syntax {syntax.name} is plain, but the pixels come in fragments; it is wrong")
    left = source.size - at
    needed = shape.frame_bytes * shape.frames
    if min(length, left) < needed:
        raise BadImage(
            f"the header announces {shape.columns}x{shape.rows} pixels in {shape.frames} frames ({needed:,} bytes), "
            f"but the file holds {min(length, left):,}; it is truncated or its header is wrong"
        )
