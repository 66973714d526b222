# SPDX-License-Identifier: Apache-2.0
"""How a written image's values are laid out and shown: as in its source, so that every viewer shows the same."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from radproof.core.depth import SIXTEEN
from radproof.data.dicom.back import Grid
from radproof.data.dicom.deidentify import Facts
from radproof.data.dicom.derived import decimal
from radproof.data.dicom.display import Display, display_of
from radproof.data.dicom.look import read_look
from radproof.data.dicom.shape import read_shape
from radproof.errors import BadImage

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SEVERAL = 65536  # entries that a table can have


def write_pixels(dataset: "Dataset", stored: Grid, facts: Facts) -> None:
    """The Image Pixel module as the source has it, and the pixels without compression."""
    bits, width = facts.bits_stored, facts.bits_allocated // 8
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = facts.photometric_interpretation
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = facts.bits_allocated, bits, bits - 1
    dataset.PixelRepresentation = int(facts.signed)
    if facts.presentation_lut_shape:
        dataset.PresentationLUTShape = facts.presentation_lut_shape
    data = np.ascontiguousarray(stored).astype(f"<{'i' if facts.signed else 'u'}{width}").tobytes()
    dataset.add_new("PixelData", "OB" if width == 1 else "OW", data + b"\x00" * (len(data) % 2))


def write_display(dataset: "Dataset", stored: Grid, facts: Facts, display: Display) -> None:
    """Rescaling and window: the source's own where they still show the same, else what was shown said anew.

    Raises BadImage where nothing that DICOM can say shows the same.
    """
    ways: tuple[Callable[[Dataset, Facts, Display], None], ...] = (_as_told, _as_window, _as_table, _as_bare_table)
    silent = facts.bits_stored > 8 and not facts.window_centers  # a reader would show whatever range the image has
    for way in ways[1:] if silent else ways:
        said = type(dataset)()
        said.update(dataset)
        way(said, facts, display)
        if _shows(said, stored, display):
            dataset.update(said)
            return
    raise BadImage("how the original is shown cannot be said again in a DICOM file; import it with another voi")


def same(one: Display, other: Display) -> bool:
    """Whether both show every stored value as the same grey level."""
    ends = (one.low, one.high, one.inverted) == (other.low, other.high, other.inverted)
    return ends and _levels(one) == _levels(other)


def _as_told(dataset: "Dataset", facts: Facts, display: Display) -> None:
    _rescale(dataset, facts)
    if len(facts.window_centers) != len(facts.window_widths) or not facts.window_centers:
        return
    dataset.WindowCenter = [decimal(centre) for centre in facts.window_centers]
    dataset.WindowWidth = [decimal(width) for width in facts.window_widths]
    if facts.voi_lut_function:
        dataset.VOILUTFunction = facts.voi_lut_function


def _as_window(dataset: "Dataset", facts: Facts, display: Display) -> None:
    """A linear window from low to high (C.11.2.1.2.1)."""
    _rescale(dataset, facts)
    black, white = sorted(_modality(np.array([display.low, display.high]), facts).tolist())
    dataset.WindowCenter = decimal((black + white) / 2 + 0.5)
    dataset.WindowWidth = decimal(white - black + 1)


def _as_table(dataset: "Dataset", facts: Facts, display: Display) -> None:
    """A VOI table over modality values."""
    _rescale(dataset, facts)
    _table(dataset, np.rint(_modality(np.arange(display.low, display.high + 1), facts)).astype(np.int64), display)


def _as_bare_table(dataset: "Dataset", facts: Facts, display: Display) -> None:
    """A VOI table over stored values: for modality tables and for slopes that spread them too far."""
    _table(dataset, np.arange(display.low, display.high + 1), display)


def _table(dataset: "Dataset", values: NDArray[np.int64], display: Display) -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    bright = np.array(display.table) if display.table is not None else np.linspace(0, 1, len(values))
    first, last = int(values.min()), int(values.max())
    if last - first >= _SEVERAL or not -32768 <= first <= 65535:
        return
    order = np.argsort(values, kind="stable")
    places = np.searchsorted(values[order], np.arange(first, last + 1), "right") - 1
    bits = next((b for b in range(8, 17) if _exact(bright, b)), 16)
    entries = np.rint(bright[order][places] * (2**bits - 1)).astype("<u2")
    item = Dataset()
    count = len(entries) % _SEVERAL  # 0 stands for all 65536
    kind = "SS" if first < 0 else "US"
    if first < 0 and count >= _SEVERAL // 2:
        count -= _SEVERAL
    item.add_new("LUTDescriptor", kind, [count, first, bits])
    item.add_new("LUTData", "OW", entries.tobytes())
    dataset.VOILUTSequence = Sequence([item])


def _exact(bright: NDArray[np.float64], bits: int) -> bool:
    scaled = bright * (2**bits - 1)
    return bool(np.abs(scaled - np.rint(scaled)).max() < 1e-4)


def _modality(stored: NDArray[np.int64], facts: Facts) -> NDArray[np.float64]:
    slope = 1.0 if facts.rescale_slope is None else facts.rescale_slope
    return stored.astype(np.float64) * slope + (facts.rescale_intercept or 0.0)


def _rescale(dataset: "Dataset", facts: Facts) -> None:
    if facts.rescale_slope is None and facts.rescale_intercept is None:
        return
    dataset.RescaleSlope = decimal(1.0 if facts.rescale_slope is None else facts.rescale_slope)
    dataset.RescaleIntercept = decimal(facts.rescale_intercept or 0.0)
    dataset.RescaleType = facts.rescale_type or "US"


def _shows(dataset: "Dataset", stored: Grid, display: Display) -> bool:
    """Whether a reader of the data set sees what was shown."""
    shape = read_shape(dataset)
    try:
        return same(display_of(read_look(dataset, shape), shape, stored), display)
    except BadImage:
        return False


def _levels(display: Display) -> list[float] | None:
    return None if display.table is None else np.rint(np.array(display.table) * SIXTEEN.top).tolist()
