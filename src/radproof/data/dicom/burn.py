# SPDX-License-Identifier: Apache-2.0
"""ADVERSARIAL TEST IMAGE, written into the pixels: for archives where people look at pictures and not at headers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from radproof.errors import BadInput

TEXT = "ADVERSARIAL TEST IMAGE"
_TWO_LINES = "ADVERSARIAL\nTEST IMAGE"
_TRIES = ((TEXT, 0.4), (TEXT, 0.6), (_TWO_LINES, 0.6), (_TWO_LINES, 0.95))  # shares of the image's width
_SMALLEST = 10.0  # pixels of type size that can still be read


@dataclass(frozen=True)
class Box:
    """Rows top..bottom-1 and columns left..right-1."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """To index an array (H, W) with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def __str__(self) -> str:
        """'rows 10-42, columns 10-300', counted from 0."""
        return f"rows {self.top}-{self.bottom - 1}, columns {self.left}-{self.right - 1}"


def box_of(height: int, width: int) -> Box:
    """Where the text stands in an image of this size. Raises BadInput where it cannot be read."""
    return _drawn(height, width)[0]


def burn(stored: NDArray[np.int32], dark: int, bright: int) -> tuple[NDArray[np.int32], Box]:
    """A copy (H, W) with bright letters on a dark box, both in stored values, and the box."""
    box, letters = _drawn(*stored.shape)
    burnt = stored.copy()
    burnt[box.slices] = np.where(letters, bright, dark)
    return burnt, box


def _drawn(height: int, width: int) -> tuple[Box, NDArray[np.bool_]]:
    """The box and its letters (box height, box width)."""
    for text, share in _TRIES:
        letters = _letters(text, width * share, height * 0.4)
        if letters is None:
            continue
        rows, columns = letters.shape
        edge = min(rows // 4, (width - columns) // 2)
        if edge + rows <= height:
            return Box(edge, edge, edge + rows, edge + columns), letters
    raise BadInput(
        f"an image of {width}x{height} pixels is too small to hold {TEXT!r} in readable letters; "
        "write it without burned-in text"
    )


def _letters(text: str, width: float, height: float) -> NDArray[np.bool_] | None:
    """The text as a mask within about this size, an edge around it; None where letters would be too small."""
    canvas = ImageDraw.Draw(Image.new("L", (1, 1)))
    size = 100.0
    left, top, right, bottom = canvas.multiline_textbbox((0, 0), text, font=ImageFont.load_default(size))
    size *= min(width / (right - left), height / (bottom - top)) * 0.94
    if size < _SMALLEST:
        return None
    font = ImageFont.load_default(size)
    left, top, right, bottom = (round(v) for v in canvas.multiline_textbbox((0, 0), text, font=font))
    edge = max(1, round(size / 4))
    picture = Image.new("L", (right - left + 2 * edge, bottom - top + 2 * edge))
    ImageDraw.Draw(picture).multiline_text((edge - left, edge - top), text, fill=255, font=font)
    return np.asarray(picture) >= 128
