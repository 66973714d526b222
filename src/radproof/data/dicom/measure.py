# SPDX-License-Identifier: Apache-2.0
"""A written image read again and held against its original, in whole numbers: what counts is what is stored."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from radproof.data.dicom.back import Grid, outside
from radproof.data.dicom.burn import Box
from radproof.data.dicom.grey import same
from radproof.data.dicom.read import DicomImage, read_dicom
from radproof.errors import BadImage

_SLACK = 1e-6


@dataclass(frozen=True)
class Measured:
    """What a written file holds of a change; a burnt-in box is left out of all of it."""

    linf_levels: int  # greatest change of a pixel, in grey levels
    l2_levels: float  # length of the whole change, in grey levels
    linf_stored: int  # greatest change of a stored value
    display_linf: float  # greatest change of what is shown, black 0 to white 1
    changed_outside_window: int  # pixels: must be 0
    differs: int  # pixels that do not show the level that was asked for
    misses: int  # of these, pixels outside the window, and under a linear window all: must be 0
    shown_alike: bool  # window, rescaling and polarity show every value as the original's do
    within: bool  # all of the budget's promises hold


def measure_again(
    path: Path,
    original: DicomImage,
    eps: float | None,
    *,
    asked: Grid | None = None,
    box: Box | None = None,
    l2: float | None = None,
) -> Measured:
    """Read the file at `path` and measure its change from `original`.

    `eps`: the budget of every pixel, in 0..1, or None; `l2`: that of the whole change, in grey levels. `asked`: the
    levels (H, W) that the file should show. `box`: where text was burnt in. Raises BadImage where it cannot be read.
    """
    found = read_dicom(path)
    kept = np.ones(original.raw.shape, bool)
    if box is not None:
        kept[box.slices] = False
    levels = original.stored.pixels[:, :, 0].astype(np.int64)
    now = found.stored.pixels[:, :, 0].astype(np.int64)
    if now.shape != levels.shape:
        raise BadImage("the written image has another size than its original; write it again")
    moved, change = np.abs(found.raw.astype(np.int64) - original.raw)[kept], np.abs(now - levels)[kept]
    beyond = outside(original.raw, original.display)[kept]
    differs = np.zeros_like(beyond) if asked is None else (now != asked)[kept]
    measured = Measured(
        linf_levels=int(change.max(initial=0)),
        l2_levels=float(np.sqrt(np.square(change).sum())),
        linf_stored=int(moved.max(initial=0)),
        display_linf=float(np.abs(_bright(found) - _bright(original))[kept].max(initial=0)),
        changed_outside_window=int((moved[beyond] > 0).sum()),
        differs=int(differs.sum()),
        misses=int((differs & (beyond | (original.display.table is None))).sum()),
        shown_alike=same(found.display, original.display),
        within=True,
    )
    return replace(measured, within=_within(measured, original, eps, l2))


def _within(measured: Measured, original: DicomImage, eps: float | None, l2: float | None) -> bool:
    most = None if eps is None else original.stored.depth.levels(eps)
    return (
        measured.shown_alike
        and measured.changed_outside_window == 0
        and measured.misses == 0
        and (most is None or measured.linf_levels <= most)
        and (most is None or original.display.table is not None or measured.linf_stored <= most)
        and (eps is None or measured.display_linf <= eps + _SLACK)
        and (l2 is None or measured.l2_levels <= l2 + _SLACK)
    )


def _bright(image: DicomImage) -> NDArray[np.float64]:
    """What is shown (H, W), 0..1, without rounding to a grid."""
    display = image.display
    if display.table is None:
        return image.stored.pixels[:, :, 0] / display.top
    return np.array(display.table)[np.clip(image.raw, display.low, display.high) - display.low]
