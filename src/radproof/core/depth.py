# SPDX-License-Identifier: Apache-2.0
"""The grid that an image's grey levels are stored on: whole numbers 0..top, shown as 0..1."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from radproof.errors import BadInput

_SLACK = 1e-6  # grey levels: 1/255 * 255 is 1, whatever binary fractions say


@dataclass(frozen=True, order=True)
class Depth:
    """Whole grey levels 0..top: 255 and 65535 for files of 8 and 16 bits, the width of its window for a DICOM image.

    `held`: pixels that are black or white in the original stay as they are, because the file holds values outside the
    window there.
    """

    top: int
    held: bool = False

    def __post_init__(self) -> None:
        """Raises BadInput outside 1..65535."""
        if not 1 <= self.top <= 65535:
            raise BadInput(f"stored grey levels must run from 0 to a number in 1..65535; got {self.top}")

    @property
    def bits(self) -> Literal[8, 16]:
        """Of the file that holds them."""
        return 8 if self.top <= 255 else 16

    def levels(self, eps: float) -> int:
        """E, the whole grey levels in a budget: floor(eps * top)."""
        return math.floor(eps * self.top + _SLACK)

    def __str__(self) -> str:
        """'8 bit', '16 bit' or '4001 grey levels'."""
        return {255: "8 bit", 65535: "16 bit"}.get(self.top, f"{self.top + 1} grey levels")


EIGHT = Depth(255)
SIXTEEN = Depth(65535)


def span(depths: Iterable[Depth]) -> str:
    """The depth of all images in words, or the least and the greatest: '8 bit to 30000 grey levels'."""
    tops = {depth.top for depth in depths}
    least, most = str(Depth(min(tops))), str(Depth(max(tops)))
    return least if least == most else f"{least} to {most}"
