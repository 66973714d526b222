# SPDX-License-Identifier: Apache-2.0
"""How a report says numbers: one way for each kind, always with the interval and the number of images."""

import math
from dataclasses import dataclass
from typing import Literal

from radproof.core.records import Estimate

Kind = Literal["share", "points", "score", "budget", "decibel", "distance", "number"]
NOTHING = "–"
NOT_ESTABLISHED = "not established"


@dataclass(frozen=True)
class Shown:
    """An estimate in words, and where it lies on a strip from 0 to 1."""

    value: str  # "62 %"
    interval: str  # "(54–70)", or the reason why there is no value
    n: str  # "n 90"
    method: str = ""  # of the interval
    label: str = ""  # what it is, where one box holds several
    strip: tuple[float, float, float] | None = None  # low, value, high in percent of the strip's width

    def __str__(self) -> str:
        return " ".join(part for part in (self.value, self.interval) if part)


def show(
    estimate: Estimate | None, kind: Kind = "share", *, label: str = "", strip: bool = False, most: float | None = None
) -> Shown:
    """An estimate as `62 % (54–70)` and `n 90`; where nothing was measured a dash and the reason.

    Where a search ended at `most`, that number stands for itself or more, and is told so: `≥16/255`.
    """
    if estimate is None:
        return Shown(NOTHING, "not measured", "", label=label)
    if estimate.value is None or estimate.low is None or estimate.high is None:
        reason = "no images to measure on" if estimate.n == 0 else estimate.method
        return Shown(NOTHING, reason, f"n {estimate.n}", estimate.method, label)
    numbers = (estimate.value, estimate.low, estimate.high)
    value, low, high = _numbers(numbers, kind)
    if most is not None:
        value, low, high = (
            "≥" * (number >= most) + text for number, text in zip(numbers, (value, low, high), strict=True)
        )
    if kind == "share":
        value = {"0.0": "<0.1", "100.0": ">99.9"}.get(value, value)
    between = " to " if estimate.low < 0 else "–"
    place = _place(estimate.low, estimate.value, estimate.high) if strip and kind in ("share", "score") else None
    return Shown(value + _UNITS[kind], f"({low}{between}{high})", f"n {estimate.n}", estimate.method, label, place)


def points(difference: Estimate) -> Shown:
    """A difference of shares, with its sign: '+12 points (−1 to 25)'."""
    shown = show(difference, "points")
    if difference.value is not None and difference.value > 0:
        return Shown(f"+{shown.value}", shown.interval, shown.n, shown.method)
    return shown


def sentence(estimate: Estimate | None, kind: Kind = "share", *, most: float | None = None) -> str:
    """The same within running text."""
    return str(show(estimate, kind, most=most))


def sample(estimate: Estimate) -> str:
    """'90 images of 61 patients'."""
    images = count(estimate.n, "image")
    return images if estimate.patients is None else f"{images} of {count(estimate.patients, 'patient')}"


def count(n: int, thing: str) -> str:
    """'1 image', '1,090 images'."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def listed(words: list[str], last: str = "and") -> str:
    """'a', 'a and b', 'a, b and c'."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else ""


def origin(made_on: str) -> str:
    """'made on resnet50'; nothing where images were made on the model itself."""
    return "" if made_on in ("", "model") else f"made on {made_on}"


def joined(*parts: str) -> str:
    """Those that say something, with dots between them."""
    return " · ".join(part for part in parts if part)


def seconds(duration: float) -> str:
    """'0.4 s', '12 s', '3 min 20 s', '2 h 5 min'."""
    if duration < 10:
        return f"{duration:.2g} s"
    whole = round(duration)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def budget(eps: float) -> str:
    """Pixel units in [0, 1] as a share of 255 grey levels: '0.31/255'."""
    return f"{_significant(eps * 255)}/255"


def plain(number: float) -> str:
    """Any other number, to four figures or to the unit."""
    if isinstance(number, int):
        return f"{number:,}"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


_UNITS: dict[Kind, str] = {
    "share": " %",
    "points": " points",
    "score": "",
    "budget": "/255",
    "decibel": " dB",
    "distance": "",
    "number": "",
}


def _numbers(numbers: tuple[float, float, float], kind: Kind) -> tuple[str, ...]:
    if kind in ("share", "points"):
        # 0.4 % is not 0 %, and 99.6 % is not 100 %.
        fine = 0 < abs(numbers[0]) < 0.01 or 0.99 < numbers[0] < 1
        return tuple(_fixed(100 * number, 1 if fine and number not in (0, 1) else 0) for number in numbers)
    if kind == "score":
        return tuple(_fixed(number, 2) for number in numbers)
    if kind == "decibel":
        return tuple(_fixed(number, 1) for number in numbers)
    scale = 255 if kind == "budget" else 1
    return tuple(_significant(scale * number) for number in numbers)


def _fixed(number: float, digits: int) -> str:
    text = f"{number:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def _significant(number: float) -> str:
    """Two significant figures without an exponent: 0.031, 0.31, 3.1, 31, 310."""
    if number == 0:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(abs(number))))
    text = f"{number:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def _place(low: float, value: float, high: float) -> tuple[float, float, float]:
    ends = [round(100 * min(max(number, 0.0), 1.0), 1) for number in (low, value, high)]
    return ends[0], ends[1], ends[2]
