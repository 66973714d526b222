# SPDX-License-Identifier: Apache-2.0
"""PALETTE COLOR: three tables of 8 or 16 bits say the colour of each stored value (DICOM PS3.3, C.7.6.3.1.5)."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from radproof.data.dicom.values import numbers_of, values_of
from radproof.errors import BadImage

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def in_colour(stored: NDArray[np.int32], dataset: "Dataset") -> NDArray[np.int32]:
    """(H, W) stored values as (H, W, 3) in 0..255. Raises BadImage for tables that are absent, segmented or short."""
    channels = [_channel(stored, dataset, colour) for colour in ("Red", "Green", "Blue")]
    return np.stack(channels, 2)


def _channel(stored: NDArray[np.int32], dataset: "Dataset", colour: str) -> NDArray[np.int32]:
    descriptor = numbers_of(dataset, f"{colour}PaletteColorLookupTableDescriptor")
    data = values_of(dataset, f"{colour}PaletteColorLookupTableData")
    if len(descriptor) != 3 or descriptor[2] not in (8, 16) or len(data) != 1 or not isinstance(data[0], bytes):
        raise BadImage(f"the {colour.lower()} palette is absent, segmented or damaged; export the image as 8-bit RGB")
    count, first, bits = int(descriptor[0]) or 65536, int(descriptor[1]) & 0xFFFF, int(descriptor[2])
    order = "<" if dataset.original_encoding[1] is not False else ">"
    wide = bits == 16 or len(data[0]) >= 2 * count
    table = np.frombuffer(data[0][: len(data[0]) // 2 * 2] if wide else data[0], f"{order}u{2 if wide else 1}")
    if len(table) < count:
        raise BadImage(f"the {colour.lower()} palette holds {len(table)} of {count} colours; the file is damaged")
    table = (table[:count] >> (8 if bits == 16 else 0)).astype(np.int32) & 0xFF
    return table[np.clip(stored - first, 0, count - 1)]
