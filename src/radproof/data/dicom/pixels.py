# SPDX-License-Identifier: Apache-2.0
"""One frame at a time from packed bytes to whole numbers: grey values as the file stores them, colour as 8-bit RGB."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from radproof.data.dicom.codestream import check_codestream
from radproof.data.dicom.header import Header
from radproof.data.dicom.opened import Opened, opened
from radproof.data.dicom.palette import in_colour
from radproof.data.dicom.quiet import quiet
from radproof.data.dicom.shape import PALETTE, Shape
from radproof.data.dicom.syntax import EXPLICIT, Syntax
from radproof.errors import BadImage, BadInput

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import Decoder

Raw = NDArray[np.int32]


def read_frame(header: Header, frame: int = 0) -> Raw:
    """Stored values (H, W) of a grey frame, or (H, W, 3) in 0..255 of a colour frame, int32.

    Bits above BitsStored (old overlays) are cut off, signs are extended. Raises BadImage for what cannot be decoded,
    BadInput for a frame that is not there.
    """
    if not 0 <= frame < header.shape.frames:
        raise BadInput(f"there is no frame {frame}; the file holds {header.shape.frames}, counted from 0")
    try:
        with quiet(), opened(header.path) as source:
            packed = _fragment(source, header, frame) if header.syntax.encapsulated else _plain(source, header, frame)
            return _decoded(packed, header)
    except BadImage:
        raise
    except Exception as error:
        # Decoders raise nearly anything, and their messages are not ours.
        reason = type(error).__name__
        raise BadImage(
            f"the pixels cannot be decoded ({header.syntax.name}: {reason}); copy or export the file again"
        ) from None


def _plain(source: Opened, header: Header, frame: int) -> bytes:
    size = header.shape.frame_bytes
    source.stream.seek(header.pixels_at + frame * size)
    return source.stream.read(size)


def _fragment(source: Opened, header: Header, frame: int) -> bytes:
    """The bytes of one compressed frame."""
    table, *fragments = source.walker().fragments(header.pixels_at)
    if not fragments:
        raise BadImage("the compressed pixel data are empty; copy or export the file again")
    chosen = fragments
    if header.shape.frames > 1:
        chosen = _of_frame(source, table, fragments, header.shape.frames, frame)
    parts: list[bytes] = []
    for at, length in chosen:
        source.stream.seek(at)
        parts.append(source.stream.read(length))
    return b"".join(parts)


def _of_frame(
    source: Opened, table: tuple[int, int], fragments: list[tuple[int, int]], frames: int, frame: int
) -> list[tuple[int, int]]:
    """The fragments of one frame: one each, or by the offset table, which counts from the first item's header."""
    if len(fragments) == frames:
        return [fragments[frame]]
    source.stream.seek(table[0])
    offsets = np.frombuffer(source.stream.read(table[1] // 4 * 4), "<u4").astype(np.int64)
    origin = fragments[0][0] - 8
    starts = [at - 8 - origin for at, _ in fragments]
    if len(offsets) != frames or not set(offsets.tolist()) <= set(starts):
        raise BadImage(
            f"the file announces {frames} frames but holds {len(fragments)} fragments without a table of where each "
            "frame begins; it is truncated or damaged"
        )
    first = starts.index(int(offsets[frame]))
    last = starts.index(int(offsets[frame + 1])) if frame + 1 < frames else len(fragments)
    return fragments[first:last]


def _decoded(packed: bytes, header: Header) -> Raw:
    shape, syntax = header.shape, header.syntax
    precision = check_codestream(packed, syntax.codec, shape) if syntax.encapsulated else shape.allocated
    if shape.samples == 3:
        return _by_library(packed, header, precision).astype(np.int32)
    if syntax.encapsulated:
        values = _whole(_by_library(packed, header, precision))
    else:
        kind = np.dtype(f"{'<' if syntax.little else '>'}u{shape.allocated // 8}")
        if shape.allocated == 8 and not syntax.little and header.pixels_vr == "OW":
            packed = np.frombuffer(packed + b"\0" * (len(packed) % 2), "<u2").byteswap().tobytes()[: len(packed)]
        values = _whole(np.frombuffer(packed, kind).reshape(shape.rows, shape.columns))
    stored = _stored(values, shape, syntax)
    return in_colour(stored, header.dataset) if shape.photometric == PALETTE else stored


def _whole(values: NDArray[Any]) -> NDArray[np.int64 | np.int32]:
    """A copy with room for signs: an image of millions of pixels takes no more memory than that."""
    return values.astype(np.int32 if values.dtype.itemsize <= 2 else np.int64)


def _stored(values: NDArray[np.int64 | np.int32], shape: Shape, syntax: Syntax) -> Raw:
    """The value of the stored bits alone; `values` are changed."""
    if syntax.lossy:  # ringing may leave what the bits can hold; wrapped round, white would turn black
        if shape.signed and syntax.codec == "jpeg":  # which knows no signs; the other codecs come with theirs
            _sign(values, shape.stored)
        return np.clip(values, shape.lowest, shape.highest, out=values).astype(np.int32, copy=False)
    if syntax.codec in ("native", "rle"):
        values >>= shape.high + 1 - shape.stored
    values &= 2**shape.stored - 1
    if shape.signed:
        _sign(values, shape.stored)
    return values.astype(np.int32, copy=False)


def _sign(values: NDArray[np.int64 | np.int32], bits: int) -> None:
    """Two's complement of so many bits; values that are negative already stay."""
    np.subtract(values, 2**bits, out=values, where=values >= 2 ** (bits - 1))


def _by_library(packed: bytes, header: Header, precision: int) -> NDArray[Any]:
    """(H, W) or (H, W, 3) by pydicom and pylibjpeg, always the same decoder whatever else is installed."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    shape, syntax = header.shape, header.syntax
    uid = EXPLICIT.uid if syntax.deflated else syntax.uid
    decoder: Decoder = get_decoder(UID(uid))
    options: dict[str, Any] = {
        "rows": shape.rows,
        "columns": shape.columns,
        "number_of_frames": 1,
        "samples_per_pixel": shape.samples,
        "photometric_interpretation": shape.photometric if shape.samples == 3 else "MONOCHROME2",
        "planar_configuration": shape.planar,
        "bits_allocated": shape.allocated,
        "bits_stored": shape.stored,
        "pixel_representation": int(shape.signed),
        "pixel_keyword": "PixelData",
    }
    if syntax.codec in ("jpeg", "jpeg-ls", "jpeg2000"):
        options |= {"bits_allocated": 8 if precision <= 8 else 16, "bits_stored": precision}
    elif syntax.codec == "rle":
        options |= {"bits_stored": shape.allocated, "pixel_representation": 0}
    source = encapsulate([packed]) if syntax.encapsulated else packed
    plugin = "pylibjpeg" if syntax.encapsulated else ""
    pixels, _ = decoder.as_array(source, index=0, raw=shape.samples == 1, decoding_plugin=plugin, **options)
    return pixels
