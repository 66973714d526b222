# SPDX-License-Identifier: Apache-2.0
"""The Image Pixel module: how many pixels of how many bits, within the limits, before anything is decoded."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from radproof.data.dicom.values import values_of
from radproof.data.images import MAX_PIXELS
from radproof.errors import BadImage

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAX_FRAMES = 100_000
GREY = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")


@dataclass(frozen=True)
class Shape:
    """One frame's size and the layout of its samples."""

    rows: int
    columns: int
    frames: int
    samples: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    planar: int

    @property
    def grey(self) -> bool:
        """Whether the image is MONOCHROME1 or MONOCHROME2."""
        return self.photometric in GREY

    @property
    def lowest(self) -> int:
        """The smallest value that the stored bits can hold."""
        return -(2 ** (self.stored - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        """The largest value that the stored bits can hold."""
        return self.lowest + 2**self.stored - 1

    @property
    def frame_bytes(self) -> int:
        """Of one frame without compression."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.allocated // 8


def read_shape(dataset: "Dataset") -> Shape:
    """The checked shape; raises BadImage naming the element that is absent, absurd or not supported."""
    rows, columns = _number(dataset, "Rows", 1, 65535), _number(dataset, "Columns", 1, 65535)
    if rows * columns > MAX_PIXELS:
        raise BadImage(
            f"the header announces {columns}x{rows} pixels, more than the limit of {MAX_PIXELS:,} "
            "(a decompression bomb?); make the image smaller"
        )
    allocated = _number(dataset, "BitsAllocated", 1, 64)
    if allocated not in (8, 16, 32):
        raise BadImage(f"BitsAllocated is {allocated}; 8, 16 and 32 are supported")
    stored = _number(dataset, "BitsStored", 1, allocated)
    high = _number(dataset, "HighBit", stored - 1, allocated - 1, stored - 1)
    signed = bool(_number(dataset, "PixelRepresentation", 0, 1))
    if stored == 32 and not signed:
        raise BadImage("32 stored bits without sign are not supported; export the image with 16 bits")
    photometric = _photometric(dataset)
    samples = _number(dataset, "SamplesPerPixel", 1, 4, 1)
    shape = Shape(
        rows,
        columns,
        _number(dataset, "NumberOfFrames", 1, MAX_FRAMES, 1),
        samples,
        allocated,
        stored,
        high,
        signed,
        photometric,
        _number(dataset, "PlanarConfiguration", 0, 1, 0),
    )
    _check_colour(shape)
    return shape


def _check_colour(shape: Shape) -> None:
    expected = 3 if shape.photometric in COLOUR else 1
    if shape.samples != expected:
        raise BadImage(f"SamplesPerPixel is {shape.samples}; {shape.photometric} has {expected}")
    if shape.photometric in COLOUR and (shape.allocated, shape.stored, shape.signed) != (8, 8, False):
        raise BadImage("colour is supported with 8 bits per channel; export the image as 8-bit RGB")
    if shape.photometric == PALETTE and (shape.signed or shape.allocated > 16):
        raise BadImage("palettes are supported for unsigned pixels of 8 or 16 bits; export the image as 8-bit RGB")


def _photometric(dataset: "Dataset") -> str:
    found = " ".join(str(value).strip("\x00 ") for value in values_of(dataset, "PhotometricInterpretation")[:1])
    if found not in (*GREY, PALETTE, *COLOUR):
        raise BadImage(
            f"PhotometricInterpretation must be one of {', '.join((*GREY, PALETTE, *COLOUR))}; "
            f"{'it is absent' if not found else 'the file says something else'}"
        )
    return found


def _number(dataset: "Dataset", keyword: str, low: int, high: int, default: int | None = None) -> int:
    values = values_of(dataset, keyword)
    if not values and default is not None:
        return default
    try:
        value = int(values[0]) if len(values) == 1 else None
    except (TypeError, ValueError, OverflowError):
        value = None
    if value is None or not low <= value <= high:
        shown = "absent" if not values else value if value is not None else "no single whole number"
        raise BadImage(f"{keyword} must be a whole number in {low}..{high}; it is {shown}")
    return value
