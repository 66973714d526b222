# SPDX-License-Identifier: Apache-2.0
"""What a file says about its display: rescaling or a modality table, a window or a VOI table, polarity, padding."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from radproof.data.dicom.shape import Shape
from radproof.data.dicom.values import items_of, numbers_of, values_of
from radproof.errors import BadImage

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
FUNCTIONS: tuple[Function, ...] = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
_REMEDY = "say what to show with voi: minmax, full or (centre, width)"


@dataclass(frozen=True)
class Rescale:
    """Modality value = slope * stored + intercept."""

    slope: float = 1.0
    intercept: float = 0.0

    def applied(self, stored: NDArray[np.int64]) -> NDArray[np.float64]:
        """Modality values."""
        return stored.astype(np.float64) * self.slope + self.intercept


@dataclass(frozen=True)
class Table:
    """A lookup table: entries for first, first + 1, ...; values outside take its ends."""

    first: int
    bits: int
    entries: NDArray[np.int64]

    def applied(self, values: NDArray[np.int64]) -> NDArray[np.float64]:
        """The entries of whole numbers."""
        return self.entries[np.clip(values - self.first, 0, len(self.entries) - 1)].astype(np.float64)


@dataclass(frozen=True)
class Window:
    """A window in modality values (C.11.2.1.2)."""

    centre: float
    width: float
    function: Function = "LINEAR"

    def edges(self) -> tuple[float, float]:
        """The modality values shown black and white; for the linear functions."""
        if self.function == "LINEAR":
            half = (self.width - 1) / 2
            return self.centre - 0.5 - half, self.centre - 0.5 + half
        return self.centre - self.width / 2, self.centre + self.width / 2

    def applied(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Brightness in 0..1."""
        if self.function == "SIGMOID":
            return 1 / (1 + np.exp(np.clip(-4 * (values - self.centre) / self.width, -700, 700)))
        black, white = self.edges()
        if white == black:
            return (values > black).astype(np.float64)
        return np.clip((values - black) / (white - black), 0, 1)


@dataclass(frozen=True)
class Look:
    """All that decides how stored values are shown."""

    modality: Rescale | Table
    window: Window | None
    voi_table: Table | None
    inverted: bool
    padding: tuple[int, int] | None


def read_look(dataset: "Dataset", shape: Shape, frame: int = 0, *, voi: bool = True) -> Look:
    """The look of one frame; `voi` False ignores the file's window and VOI table.

    Raises BadImage naming what cannot be: a slope of 0, a window without width.
    """
    modality = _modality(macro(dataset, "PixelValueTransformationSequence", frame), shape)
    source = macro(dataset, "FrameVOILUTSequence", frame)
    # MONOCHROME1 and INVERSE say the same thing: where both stand, they do not undo each other (C.7.6.3.1.2, C.8.11.3).
    shape_word = " ".join(str(value).strip() for value in values_of(dataset, "PresentationLUTShape")[:1])
    inverted = shape.photometric == "MONOCHROME1" or shape_word == "INVERSE"
    signed = shape.signed or (isinstance(modality, Rescale) and modality.intercept < 0)
    table = _table(source, "VOILUTSequence", signed) if voi else None
    window = _window(source) if voi and table is None else None
    return Look(modality, window, table, inverted, _padding(dataset, shape))


def macro(dataset: "Dataset", keyword: str, frame: int) -> "Dataset":
    """Where a multi-frame file keeps such things: the frame's own group, the shared one, or the data set itself."""
    own = items_of(dataset, "PerFrameFunctionalGroupsSequence")
    groups = [*own[frame : frame + 1], *items_of(dataset, "SharedFunctionalGroupsSequence")[:1]]
    return next((items[0] for group in groups if (items := items_of(group, keyword))), dataset)


def _modality(dataset: "Dataset", shape: Shape) -> Rescale | Table:
    table = _table(dataset, "ModalityLUTSequence", shape.signed)
    if table is not None:
        return table
    slope, intercept = numbers_of(dataset, "RescaleSlope"), numbers_of(dataset, "RescaleIntercept")
    for word, found in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
        if len(found) != 1 and values_of(dataset, word):
            raise BadImage(f"{word} must be one number; the file is damaged, export it again")
    if slope and abs(slope[0]) < 1e-12:
        raise BadImage("RescaleSlope is 0, which would show every pixel alike; the header is wrong, export it again")
    return Rescale(slope[0] if slope else 1.0, intercept[0] if intercept else 0.0)


def _padding(dataset: "Dataset", shape: Shape) -> tuple[int, int] | None:
    """The range of stored values that are no image."""
    ends = [numbers_of(dataset, word)[:1] for word in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    bits = shape.allocated
    whole = [int(end[0]) & (2**bits - 1) for end in ends if end]
    if not ends[0]:
        return None
    if shape.signed:
        whole = [value - 2**bits if value >= 2 ** (bits - 1) else value for value in whole]
    return min(whole), max(whole)


def _window(dataset: "Dataset") -> Window | None:
    centres, widths = numbers_of(dataset, "WindowCenter"), numbers_of(dataset, "WindowWidth")
    if not values_of(dataset, "WindowCenter") and not values_of(dataset, "WindowWidth"):
        return None
    if not centres or not widths:
        raise BadImage(f"the file's window lacks a centre or a width that is a number; {_REMEDY}")
    word = " ".join(str(value).strip() for value in values_of(dataset, "VOILUTFunction")[:1]) or "LINEAR"
    function: Function | None = next((known for known in FUNCTIONS if known == word), None)
    if function is None:
        raise BadImage(f"VOILUTFunction must be one of {', '.join(FUNCTIONS)}; {_REMEDY}")
    least = 1.0 if function == "LINEAR" else 1e-9
    if widths[0] < least:
        raise BadImage(f"the file's window is {widths[0]:g} wide; a {function} window needs at least 1; {_REMEDY}")
    return Window(centres[0], widths[0], function)


def _table(dataset: "Dataset", keyword: str, signed: bool) -> Table | None:
    """The first table of a sequence; `signed`: whether its first mapped value may be negative."""
    items = items_of(dataset, keyword)
    if not items:
        return None
    descriptor, data = numbers_of(items[0], "LUTDescriptor"), values_of(items[0], "LUTData")
    damaged = BadImage(f"the table in {keyword} is damaged: its descriptor and its data do not fit; {_REMEDY}")
    if len(descriptor) != 3 or not data:
        raise damaged
    count, first, bits = int(descriptor[0]) & 0xFFFF or 65536, int(descriptor[1]) & 0xFFFF, int(descriptor[2])
    first = first - 65536 if signed and first >= 32768 else first
    entries = _entries(data, count, bits, dataset.original_encoding[1] is not False)
    if not 8 <= bits <= 16 or len(entries) < count:
        raise damaged
    return Table(first, bits, entries[:count] & (2**bits - 1))


def _entries(data: list[object], count: int, bits: int, little: bool) -> NDArray[np.int64]:
    """From a list of numbers or from bytes, one or two a number."""
    if len(data) == 1 and isinstance(data[0], bytes):
        narrow = bits == 8 and len(data[0]) < 2 * count
        kind = "u1" if narrow else f"{'<' if little else '>'}u2"
        whole = data[0] if narrow else data[0][: len(data[0]) // 2 * 2]
        return np.frombuffer(whole, kind).astype(np.int64)
    return np.array([int(value) & 0xFFFF for value in data if isinstance(value, int)], dtype=np.int64)
