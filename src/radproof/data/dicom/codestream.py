# SPDX-License-Identifier: Apache-2.0
"""What a compressed frame announces about itself, read before a decoder allocates for it.

JPEG and JPEG-LS: the frame header of ITU T.81 and T.87. JPEG 2000: the SIZ segment of ITU T.800. RLE: DICOM PS3.5 G.
"""

import struct
from dataclasses import dataclass

from radproof.data.dicom.shape import Shape
from radproof.data.dicom.syntax import Codec
from radproof.errors import BadImage

MAX_TILES = 65_535
_FRAME_HEADERS = {0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCB, 0xF7}  # SOF0-3, 9-11 and SOF55 of JPEG-LS
_REFUSED = {0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xDE}  # hierarchical JPEG


@dataclass(frozen=True)
class Announced:
    """Size and depth by the codestream's own header."""

    rows: int
    columns: int
    samples: int
    precision: int


def check_codestream(frame: bytes, codec: Codec, shape: Shape) -> int:
    """The precision in bits of one compressed frame, which must be of the size that the DICOM header says.

    Raises BadImage where the two differ or the codestream has no header.
    """
    try:
        if codec == "rle":
            _check_rle(frame, shape)
            return shape.allocated
        found = _siz(frame) if codec == "jpeg2000" else _sof(frame)
    except (struct.error, IndexError):
        raise BadImage("a compressed frame ends within its header; the file is truncated or damaged") from None
    if (found.rows, found.columns, found.samples) != (shape.rows, shape.columns, shape.samples):
        raise BadImage(
            f"the DICOM header announces {shape.columns}x{shape.rows} pixels of {shape.samples} samples, the "
            f"compressed frame {found.columns}x{found.rows} of {found.samples}; the file is damaged or forged"
        )
    if not 1 <= found.precision <= min(shape.allocated, 16):
        raise BadImage(
            f"a compressed frame has {found.precision} bits per sample where {shape.allocated} are allocated; "
            "up to 16 are read"
        )
    return found.precision


def _sof(frame: bytes) -> Announced:
    if frame[:2] != b"\xff\xd8":
        raise BadImage("a compressed frame does not begin as JPEG; its transfer syntax is wrong or the file is damaged")
    at = 2
    while at < len(frame):
        if frame[at] != 0xFF:
            break
        marker = frame[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _REFUSED:
            raise BadImage("hierarchical JPEG is not read; export the image without compression")
        if marker in _FRAME_HEADERS:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", frame, at + 4)
            return Announced(rows, columns, samples, precision)
        if marker == 0xDA:
            break
        (length,) = struct.unpack_from(">H", frame, at + 2)
        at += 2 + max(length, 2)
    raise BadImage("a compressed frame has no frame header before its pixels; the file is damaged")


def _siz(frame: bytes) -> Announced:
    if frame[4:8] == b"jP  ":  # a JP2 file around the codestream, which some writers leave there
        start = frame.find(b"\xff\x4f\xff\x51", 0, 2**16)
        frame = frame[start:] if start > 0 else b""
    if frame[:4] != b"\xff\x4f\xff\x51":
        raise BadImage(
            "a compressed frame does not begin as JPEG 2000; its transfer syntax is wrong or the file is damaged"
        )
    right, bottom, left, upper, width, height, tile_left, tile_upper, samples = struct.unpack_from(">8LH", frame, 8)
    depths = frame[42 : 42 + 3 * samples]
    if len(depths) < 3 * samples or samples == 0:
        raise IndexError
    if any(depths[i + 1] != 1 or depths[i + 2] != 1 for i in range(0, len(depths), 3)):
        raise BadImage("JPEG 2000 with subsampled channels is not read; export the image without compression")
    if not width or not height or right <= left or bottom <= upper:
        raise BadImage("a compressed frame announces an empty image or empty tiles; the file is damaged or forged")
    tiles = -(-(right - tile_left) // width) * -(-(bottom - tile_upper) // height)
    if not 1 <= tiles <= MAX_TILES:
        raise BadImage(f"a compressed frame announces {tiles:,} tiles; at most {MAX_TILES:,} are read")
    precision = max((depths[i] & 0x7F) + 1 for i in range(0, len(depths), 3))
    return Announced(bottom - upper, right - left, samples, precision)


def _check_rle(frame: bytes, shape: Shape) -> None:
    count, *offsets = struct.unpack_from("<16L", frame)
    expected = shape.samples * shape.allocated // 8
    if count != expected:
        raise BadImage(f"an RLE frame has {count} segments where {expected} are needed; the file is damaged")
    used = offsets[:count]
    if used[0] < 64 or sorted(set(used)) != used or used[-1] >= len(frame):
        raise BadImage("the segments of an RLE frame lie outside it or overlap; the file is damaged or forged")
