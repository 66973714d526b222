# SPDX-License-Identifier: Apache-2.0
"""From changed grey levels back to stored values, so that the file holds the same change and not one level more.

Linear window: stored = low + level, exactly. Non-linear table: among the stored values whose display lies within the
budget of the original's, the one displayed nearest to what was asked. Values outside the window stay as they are.
"""

import numpy as np
from numpy.typing import NDArray

from radproof.core.depth import SIXTEEN
from radproof.data.dicom.display import Display
from radproof.errors import BadInput

Grid = NDArray[np.int32]
Bright = NDArray[np.float64]
_SLACK = 1e-9  # of the display range: equal budgets are equal, whatever binary fractions say


def restore(changed: Grid, raw: Grid, display: Display, *, eps: float | None) -> Grid:
    """Stored values (H, W) that show `changed` (H, W grey levels), next to the original's `raw`.

    Pixels that did not change and pixels outside the window keep their raw value. `eps` bounds the display values of a
    table; None asks for the nearest. Raises BadInput where the shapes or the grid do not fit.
    """
    top = display.top
    if changed.shape != raw.shape:
        raise BadInput(
            f"the changed image has {changed.shape[1]}x{changed.shape[0]} pixels and its original "
            f"{raw.shape[1]}x{raw.shape[0]}; give the original that it was made from"
        )
    if changed.min() < 0 or changed.max() > top:
        raise BadInput(
            f"grey levels must lie in 0..{top}, the width of the original's window; "
            f"got {changed.min()}..{changed.max()}: give the original that the image was made from"
        )
    if display.table is not None:
        return _nearest(changed, raw, display, np.array(display.table), eps)
    wanted = display.low + (top - changed if display.inverted else changed)
    return np.where(outside(raw, display), raw, wanted).astype(np.int32)


def outside(raw: Grid, display: Display) -> NDArray[np.bool_]:
    """Where stored values lie beyond what is shown black and white."""
    return (raw < display.low) | (raw > display.high)


def _nearest(changed: Grid, raw: Grid, display: Display, table: Bright, eps: float | None) -> Grid:
    """Over the table's display values in ascending order; a group is the stored values with one display value."""
    bright = 1 - table if display.inverted else table
    values, group = np.unique(bright, return_inverse=True)
    first, last = _reach(values, eps)
    # Raw values by group, ascending within it, so that the one nearest to the original's is found in one search.
    order = np.argsort(group, kind="stable")
    inside = ~outside(raw, display)
    span = SIXTEEN.top + 1
    pairs, where = np.unique((raw[inside] - display.low).astype(np.int64) * span + changed[inside], return_inverse=True)
    own, asked = pairs // span, pairs % span
    middles = (values[1:] + values[:-1]) / 2
    chosen = np.searchsorted(middles, asked / SIXTEEN.top)
    chosen = np.clip(chosen, first[group[own]], last[group[own]])
    index = _closest(group[order].astype(np.int64), order, chosen, own)
    as_it_is = np.rint(bright * SIXTEEN.top)[own] == asked
    stored = raw.copy()
    stored[inside] = (display.low + np.where(as_it_is, own, index))[where]
    return stored


def _reach(values: Bright, eps: float | None) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each display value the first and last that lie within the budget, as real numbers and as grey levels."""
    if eps is None:
        return np.zeros(len(values), np.intp), np.full(len(values), len(values) - 1, np.intp)
    whole, most = np.rint(values * SIXTEEN.top), SIXTEEN.levels(eps)
    first = np.maximum(np.searchsorted(values, values - eps - _SLACK), np.searchsorted(whole, whole - most))
    last = np.minimum(
        np.searchsorted(values, values + eps + _SLACK, "right"), np.searchsorted(whole, whole + most, "right")
    )
    return first, last - 1


def _closest(
    groups: NDArray[np.int64], order: NDArray[np.intp], chosen: NDArray[np.intp], own: NDArray[np.int64]
) -> NDArray[np.intp]:
    """The member of each chosen group nearest to the original's own place in the table."""
    span = len(order) + 1
    keys = groups * span + order
    at = np.searchsorted(keys, chosen * span + own)
    below, above = np.maximum(at - 1, 0), np.minimum(at, len(order) - 1)
    fits = groups[above] == chosen
    nearer = np.abs(order[below] - own) <= np.abs(order[above] - own)
    return np.where((groups[below] == chosen) & (nearer | ~fits), order[below], order[above])
