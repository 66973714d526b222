# SPDX-License-Identifier: Apache-2.0
"""What a kept model's process says, read with distrust: a stranger's file, or image, may have taken it over."""

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError

from radproof.core.guard_words import plain
from radproof.core.records import Record

T = TypeVar("T", bound=Record)
Verdict = Literal["clear", "suspicious", "outside the model's data", "not established"]
Share = Annotated[float, Field(ge=0, le=1)]
_Text = Annotated[str, Field(max_length=4000), AfterValidator(lambda text: plain(text, 2000))]
_Name = Annotated[str, Field(max_length=300), AfterValidator(lambda text: plain(text, 200))]
_MOST = 1000  # classes, reasons


class Limit(Record):
    """A threshold, or why there is none."""

    value: float | None
    promised: Share
    n: int = Field(ge=0)
    reason: _Text = ""
    low: Share | None = None
    high: Share | None = None


class Reading(Record):
    """One detector's score of one image."""

    detector: _Name
    score: float
    threshold: Limit
    tail: Share
    clean: int = Field(ge=0)

    @property
    def flagged(self) -> bool | None:
        """Above the threshold; None where there is none."""
        return None if self.threshold.value is None else self.score > self.threshold.value


class Screened(Record):
    """As detectors.screening.Screening, whose module needs torch."""

    prediction: tuple[_Name, ...] = Field(max_length=_MOST)
    confidence: Share
    probabilities: dict[_Name, Share] = Field(min_length=1, max_length=_MOST)
    group: _Name
    verdict: Verdict
    reasons: tuple[_Text, ...] = Field(max_length=_MOST)
    suspicion: Reading
    outside: Reading | None = None


class Opened(Record):
    """Its first words: what it opened."""

    phantom: bool
    by: Literal["", "class", "view"]
    grid: _Text


class Numbered(Record):
    """An answer to the request of that number."""

    number: int


class Said(Numbered):
    """Of one image: a screening, a refusal of the image, or that the model is broken."""

    screening: Screened | None
    refusal: _Text
    broken: _Text
    seconds: float = Field(ge=0)


class Ready(Record):
    """The first words of a process that draws."""

    ready: Literal[True]


class Sketch(Numbered):
    """The size of a picture whose bytes follow, or why there is none."""

    refusal: _Text
    height: int = Field(ge=0)
    width: int = Field(ge=0)
    channels: Literal[0, 1, 3]


class Piece(Numbered):
    """Some of its bytes."""

    piece: Annotated[str, Field(min_length=1, max_length=200_000)]  # base64


class Nonsense(Exception):
    """It said something else."""


def parsed(kind: type[T], line: bytes) -> T:
    """A line of JSON as one of these. Raises Nonsense."""
    try:
        found = kind.model_validate_json(line, strict=True)
    except (ValidationError, RecursionError):
        raise Nonsense("its answer is not in order") from None
    if isinstance(found, Said) and bool(found.screening) == bool(found.refusal or found.broken):
        raise Nonsense("its answer is neither a screening nor a refusal")
    return found
