# SPDX-License-Identifier: Apache-2.0
"""How stored values become grey levels: modality LUT, then VOI LUT, then inversion (DICOM PS3.3, C.11.1 and C.11.2).

Linear windows stay whole numbers: grey level p = clip(s, low, high) - low on a grid of its own, so that a change of one
grey level is a change of one stored value. Everything else comes as a table on a 16-bit grid.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from radproof.core.depth import SIXTEEN, Depth
from radproof.data.dicom.look import Look, Rescale, Window
from radproof.data.dicom.shape import Shape
from radproof.data.images import StoredImage
from radproof.errors import BadImage, BadInput

Voi = Literal["file", "full", "minmax"] | tuple[float, float]
"""file: as the file says; full: all values that the stored bits can hold; minmax: the image's own; or a window's centre
and width in modality units, Hounsfield units for CT."""
_SLOPPY = 0.01  # of a window's width that may lie beyond the stored values and be cut off
_DIGITS = 9  # decimals of a table: far finer than its 16-bit grid


@dataclass(frozen=True)
class Display:
    """Stored values low..high shown from black to white; inverted, from white to black.

    `table`: for functions that are not linear, the brightness in 0..1 of each of low..high, before inversion.
    """

    low: int
    high: int
    inverted: bool = False
    table: tuple[float, ...] | None = None

    @property
    def top(self) -> int:
        """The grey level that is white."""
        return self.high - self.low if self.table is None else SIXTEEN.top

    def shown(self, raw: NDArray[np.int32]) -> StoredImage:
        """The grey levels (H, W, 1) of stored values (H, W), held where values lie outside low..high."""
        inside = np.clip(raw, self.low, self.high)
        inside -= self.low
        if self.table is None:
            levels = np.subtract(self.top, inside, out=inside) if self.inverted else inside
        else:
            bright = 1 - np.array(self.table) if self.inverted else np.array(self.table)
            levels = np.rint(bright * self.top)[inside]
        held = bool(raw.min() < self.low or raw.max() > self.high)
        depth = Depth(self.top, held)
        return StoredImage(levels.astype(np.uint8 if depth.bits == 8 else np.uint16)[:, :, None], depth)


def display_of(look: Look, shape: Shape, raw: NDArray[np.int32], voi: Voi = "file") -> Display:
    """How the grey image `raw` is shown.

    Without a VOI in the file: up to 8 stored bits all that they can hold; deeper, the smallest to the largest stored
    value of the image, padding left out. A window that reaches beyond what the stored bits can hold by more than a
    hundredth of its width comes as a table: its ends are levels that no pixel can have.
    Raises BadImage for a window or table that cannot be, BadInput for another `voi`.
    """
    voi = check_voi(voi)
    window = look.window if voi == "file" else Window(*voi) if isinstance(voi, tuple) else None
    table = look.voi_table if voi == "file" else None
    bounds = Bounds(shape.lowest, shape.highest, *_ends(look, shape, raw, voi))
    if isinstance(look.modality, Rescale):
        inverted = look.inverted != (look.modality.slope < 0)
        if table is None and window is None:
            return Display(*_apart(bounds.low, bounds.high, bounds), inverted)
        if (
            table is None
            and window is not None
            and window.function != "SIGMOID"
            and not _reaches_beyond(window, look.modality, bounds)
        ):
            return Display(*_window_ends(window, look.modality, bounds), inverted)
    return _tabled(look, window, table is not None, bounds)


@dataclass(frozen=True)
class Bounds:
    """What the stored bits can hold, and what is shown where no window says otherwise."""

    lowest: int
    highest: int
    low: int
    high: int


def check_voi(voi: object) -> Voi:
    """A known word, or the window (centre, width). Raises BadInput for anything else."""
    if isinstance(voi, str) and voi in ("file", "full", "minmax"):
        return voi  # pyright: ignore[reportReturnType]
    if isinstance(voi, list | tuple) and len(voi) == 2:
        try:
            centre, width = float(voi[0]), float(voi[1])
        except (TypeError, ValueError):
            centre, width = math.nan, math.nan
        if math.isfinite(centre) and math.isfinite(width) and width >= 1:
            return centre, width
    raise BadInput(f"voi must be 'file', 'full', 'minmax' or a window (centre, width of at least 1); got {voi!r:.80}")


def _ends(look: Look, shape: Shape, raw: NDArray[np.int32], voi: Voi) -> tuple[int, int]:
    if voi == "full" or (voi == "file" and shape.stored <= 8):
        return shape.lowest, shape.highest
    seen = raw
    if look.padding is not None:
        kept = (raw < look.padding[0]) | (raw > look.padding[1])
        seen = raw[kept] if kept.any() else raw
    return int(seen.min()), int(seen.max())


def _reaches_beyond(window: Window, rescale: Rescale, bounds: Bounds) -> bool:
    low, high = _stored_ends(window, rescale)
    beyond = max(bounds.lowest - low, 0.0) + max(high - bounds.highest, 0.0)
    return low <= bounds.highest and high >= bounds.lowest and beyond > _SLOPPY * (high - low)


def _stored_ends(window: Window, rescale: Rescale) -> list[float]:
    return sorted((edge - rescale.intercept) / rescale.slope for edge in window.edges())


def _window_ends(window: Window, rescale: Rescale, bounds: Bounds) -> tuple[int, int]:
    """The stored values shown black and white, whole numbers inside the window."""
    ends = _stored_ends(window, rescale)
    if ends[1] < bounds.lowest or ends[0] > bounds.highest:
        raise BadImage(
            f"the window {window.centre:g}/{window.width:g} lies beside every value that the pixels can have; "
            "say what to show with voi: minmax, full or (centre, width)"
        )
    slack = 1e-9 * max(1.0, abs(ends[0]), abs(ends[1]))
    low, high = math.ceil(max(ends[0], bounds.lowest) - slack), math.floor(min(ends[1], bounds.highest) + slack)
    if high > low:
        return low, high
    return _apart(math.floor(ends[0]), math.floor(ends[0]), bounds)  # narrower than a step: a threshold


def _apart(low: int, high: int, bounds: Bounds) -> tuple[int, int]:
    """Two different values that the stored bits can hold, on a grid of at most 65536 levels."""
    low, high = max(low, bounds.lowest), min(high, bounds.highest)
    if high <= low:
        low = min(max(low, bounds.lowest), bounds.highest - 1)
        high = low + 1
    if high - low > SIXTEEN.top:
        raise BadImage(
            f"{high - low + 1:,} grey levels are more than 65,536 can show; give a window with voi: (centre, width)"
        )
    return low, high


def _tabled(look: Look, window: Window | None, by_table: bool, bounds: Bounds) -> Display:
    """The whole chain as a table over stored values, cut where it only repeats black or white.

    An end of another grey is kept whole: values beyond a cut are held, and held are black and white alone.
    """
    if bounds.highest - bounds.lowest > SIXTEEN.top:
        raise BadImage("tables and sigmoid windows are supported for up to 16 stored bits; export with 16 bits")
    stored = np.arange(bounds.lowest, bounds.highest + 1, dtype=np.int64)
    values = look.modality.applied(stored)
    if by_table and look.voi_table is not None:
        table = look.voi_table
        bright = table.applied(np.rint(values).astype(np.int64)) / (2**table.bits - 1)
    elif window is not None:
        bright = window.applied(values)
    else:
        part = values[bounds.low - bounds.lowest : bounds.high - bounds.lowest + 1]
        least, most = float(part.min()), float(part.max())
        bright = np.clip((values - least) / max(most - least, 1e-12), 0, 1)
    bright = np.round(bright, _DIGITS)
    changes = np.flatnonzero(np.diff(bright))
    first, last = (int(changes[0]), int(changes[-1]) + 1) if len(changes) else (0, 1)
    black_or_white = np.isin(np.rint(bright[[0, -1]] * SIXTEEN.top), (0, SIXTEEN.top))
    first, last = first if black_or_white[0] else 0, last if black_or_white[1] else len(bright) - 1
    return Display(bounds.lowest + first, bounds.lowest + last, look.inverted, tuple(bright[first : last + 1].tolist()))
