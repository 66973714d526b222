# SPDX-License-Identifier: Apache-2.0
"""Frozen, strict records with one canonical JSON form, and the two that every report is made of."""

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator


class Record(BaseModel):
    """Frozen; unknown keys and NaN are refused; the JSON form reads back as the same record."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def canonical_json(value: Any) -> str:
    """Sorted keys, no spaces, no NaN: equal values give equal text."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """sha256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class Estimate(Record):
    """A number with its interval: no bare number exists in a report.

    `value` is None where nothing could be measured (n = 0); low and high are then None too.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str  # for example "cluster bootstrap over patients, 2000 draws, 95 %"
    n: int  # images (or what `unit` says) behind the number
    patients: int | None = None

    @model_validator(mode="after")
    def _together(self) -> "Estimate":
        if (self.value is None) != (self.low is None) or (self.low is None) != (self.high is None):
            raise ValueError("value, low and high are all numbers or all None")
        return self


class Doubt(Record):
    """A reason not to believe a number, printed beside it."""

    kind: str  # a short stable key: "shortcut", "few-images", "gradient-masking", …
    about: str  # which numbers: "all", a cell key, "detector:frequency", …
    message: str  # one sentence with the figures
    severity: Literal["note", "serious"] = "serious"  # serious: "not established" instead of a claim
