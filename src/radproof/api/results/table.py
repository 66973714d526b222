# SPDX-License-Identifier: Apache-2.0
"""rows.parquet in memory: every text once, numbers beside it, so that filters are comparisons of whole columns."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from radproof.api.http.problems import Problem
from radproof.core.tables import read_table

CELLS = 100_000_000
NORMAL = (
    "sample",
    "truth",
    "job",
    "column",
    "attack",
    "goal",
    "budget",
    "made_on",
    "defense",
    "answer",
    "file",
    "sha256",
)
NUMBERS = ("eps", "confidence", "linf", "ssim")
FLAGS = ("right", "clean_right", "reached")
OUTCOMES = ("fooled", "held", "wrong_before")
PATTERN = r"[0-9a-f]{16}-[0-9a-f]{8}(?:-[0-9a-f]{8})?"
_NAME = re.compile(PATTERN)
_SAMPLE = re.compile(r"[0-9a-f]{16}")
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Texts:
    """A column of texts."""

    codes: Ints  # (rows,)
    values: tuple[str, ...]

    def at(self, row: int) -> str:
        """The text of a row."""
        return self.values[int(self.codes[row])]

    def code(self, value: str) -> int:
        """Of a text; -1 where no row has it."""
        return self._codes.get(value, -1)

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {value: code for code, value in enumerate(self.values)}


@dataclass(frozen=True)
class Table:
    """Rows of clean and attacked images."""

    texts: Mapping[str, Texts]
    numbers: Mapping[str, NDArray[Any]]
    logits: NDArray[np.float64]  # (rows, K)
    head: str
    gallery: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    @property
    def bytes(self) -> int:
        """What it holds in memory, about: its columns, and as much again for what is found in them."""
        columns = [self.logits, *self.numbers.values(), *(one.codes for one in self.texts.values())]
        words = sum(60 + len(value) for one in self.texts.values() for value in one.values)
        return 2 * (sum(column.nbytes for column in columns) + words)

    @cached_property
    def attacked(self) -> Ints:
        """Rows that show an image which was changed."""
        column, files = self.texts["column"], self.texts["file"]
        return np.flatnonzero((column.codes != column.code("clean")) & (files.codes != files.code("")))

    @cached_property
    def clean(self) -> Ints:
        """For every row that of its original, as the same scorer answered it; -1 where there is none."""
        sample, defense, column = (self.texts[name] for name in ("sample", "defense", "column"))
        key = defense.codes * len(sample.values) + sample.codes
        at = np.full(len(sample.values) * len(defense.values), -1, np.int64)
        rows = np.flatnonzero(column.codes == column.code("clean"))
        at[key[rows]] = rows
        return at[key]

    @cached_property
    def outcomes(self) -> Ints:
        """Of every row, as a place in OUTCOMES."""
        right, reached = self.numbers["clean_right"], self.numbers["reached"]
        return np.where(~right, 2, np.where(reached, 0, 1)).astype(np.int64)

    @cached_property
    def _names(self) -> dict[str, int]:
        return {self.name(int(at)): int(at) for at in self.attacked}

    @cached_property
    def _shown(self) -> dict[tuple[str, ...], Mapping[str, Any]]:
        """The gallery by what its pictures are of."""
        return {(one["sample"], one["attack"], one["budget"]): one for one in self.gallery}

    def name(self, at: int) -> str:
        """Of a row: its image, the attack's key, and the scorer where it is not the bare model."""
        sample, job, defense = (self.texts[name].at(at) for name in ("sample", "job", "defense"))
        parts = [sample if _SAMPLE.fullmatch(sample) else _short(sample, 16)]
        parts.append(job[-8:] if re.fullmatch(r"[0-9a-f]{8}", job[-8:]) else _short(job, 8))
        return "-".join(parts if defense == "none" else [*parts, _short(defense, 8)])

    def named(self, name: str) -> int | None:
        """The row of that name."""
        return self._names.get(name) if len(name) <= 60 and _NAME.fullmatch(name) else None

    def where(self, chosen: Mapping[str, str]) -> Ints:
        """The attacked rows that have these values, in the table's order."""
        found = self.attacked
        for name, value in chosen.items():
            found = found[self._fits(name, value, found)]
        return found

    def _fits(self, name: str, value: str, rows: Ints) -> NDArray[np.bool_]:
        if name == "outcome":
            return self.outcomes[rows] == (OUTCOMES.index(value) if value in OUTCOMES else -1)
        if name == "label":
            truth = self.texts["truth"]
            held = np.array([value in one.split("|") for one in truth.values], dtype=bool)
            return held[truth.codes[rows]]
        return self.texts[name].codes[rows] == self.texts[name].code(value)

    def counts(self, name: str, chosen: Mapping[str, str]) -> list[tuple[str, int]]:
        """Every value that attacked rows have in a column, and how many of the chosen rows have it."""
        rows = self.where(chosen)
        if name == "outcome":
            counted = np.bincount(self.outcomes[rows], minlength=len(OUTCOMES))
            return [(value, int(counted[code])) for code, value in enumerate(OUTCOMES)]
        column = self.texts["truth" if name == "label" else name]
        counted = np.bincount(column.codes[rows], minlength=len(column.values))
        known = np.bincount(column.codes[self.attacked], minlength=len(column.values)) > 0
        if name != "label":
            order = self._smallest_first(name, column)
            return [(column.values[code], int(counted[code])) for code in order if known[code]]
        found: dict[str, int] = {}
        for code in np.flatnonzero(known):
            for label in filter(None, column.values[code].split("|")):
                found[label] = found.get(label, 0) + int(counted[code])
        return sorted(found.items())

    def _smallest_first(self, name: str, column: Texts) -> list[int]:
        codes = range(len(column.values))
        if name != "budget":
            return sorted(codes, key=lambda code: column.values[code])
        first = [np.flatnonzero(column.codes == code)[:1] for code in codes]
        eps = [float(self.numbers["eps"][at[0]]) if len(at) else 0.0 for at in first]
        return sorted(codes, key=lambda code: eps[code])

    def by_budget(self, chosen: Mapping[str, str]) -> list[dict[str, Any]]:
        """Counts of outcomes per budget, smallest first."""
        rows = self.where(chosen)
        column, eps = self.texts["budget"], self.numbers["eps"]
        found: list[dict[str, Any]] = []
        for code in np.unique(column.codes[rows]):
            own = rows[column.codes[rows] == code]
            counted = np.bincount(self.outcomes[own], minlength=3).tolist()
            told = {"budget": column.values[code], "eps": float(eps[own[0]]), "images": len(own)}
            found.append(told | dict(zip(OUTCOMES, counted, strict=True)))
        return sorted(found, key=lambda one: one["eps"])

    def siblings(self, at: int) -> list[int]:
        """Rows that differ from this one in the budget alone, smallest first."""
        same = ("sample", "attack", "goal", "made_on", "defense", "column")
        found = self.where({name: self.texts[name].at(at) for name in same})
        return sorted((int(one) for one in found), key=lambda one: float(self.numbers["eps"][one]))

    @staticmethod
    def after(rows: Ints, at: int) -> int:
        """The place of the first of these rows behind row `at`."""
        return int(np.searchsorted(rows, at, side="right"))

    def picture(self, at: int) -> Mapping[str, Any] | None:
        """The gallery's pictures of a row, if it has some."""
        told = {name: self.texts[name].at(at) for name in ("sample", "attack", "budget", "column", "defense", "goal")}
        if (told["column"], told["defense"], told["goal"]) != ("oblivious", "none", "misclassify"):
            return None
        return self._shown.get((told["sample"], told["attack"], told["budget"]))

    def row(self, at: int) -> dict[str, Any]:
        """A row in words, as results.ImageRow has it."""
        clean = int(self.clean[at])
        told: dict[str, Any] = {
            name: self.texts[name].at(at)
            for name in ("sample", "truth", "column", "attack", "goal", "budget", "made_on", "defense")
        }
        outcome = OUTCOMES[int(self.outcomes[at])]
        linf, most = self._number("linf", at), float(self.numbers["eps"][at])
        shown = self.picture(at)
        extra = [kind for kind in ("defended", "cam_before", "cam_after") if shown and kind in shown["files"]]
        return told | {
            "id": self.name(at),
            "eps": most,
            "clean_answer": self.texts["answer"].at(clean) if clean >= 0 else "",
            "clean_confidence": self._sure(clean) if clean >= 0 else 0.0,
            "attacked_answer": self.texts["answer"].at(at),
            "attacked_confidence": self._sure(at),
            "clean_in_truth": self._number("confidence", clean) or 0.0 if clean >= 0 else 0.0,
            "attacked_in_truth": self._number("confidence", at) or 0.0,
            "fooled": outcome == "fooled",
            "outcome": outcome,
            "linf": linf,
            "ssim": self._number("ssim", at),
            "amplified": round(0.5 / (most or linf or 1.0), 3),
            "kinds": ["original", "attacked", *extra[:1], "difference", *extra[1:]]
            if "defended" in extra
            else ["original", "attacked", "difference", *extra],
        }

    def _number(self, name: str, at: int) -> float | None:
        value = float(self.numbers[name][at])
        return round(value, 6) if np.isfinite(value) else None

    def _sure(self, at: int) -> float:
        """Confidence in the own answer; over several findings, on average."""
        z = self.logits[at]
        if self.head == "softmax":
            p = np.exp(z - z.max())
            return round(float(p.max() / p.sum()), 6)
        return round(float((1 / (1 + np.exp(-np.abs(z)))).mean()), 6)


def read_rows(path: Path, head: str, gallery: Sequence[Mapping[str, Any]]) -> Table:
    """The columns that pages need. Raises Problem 404 for a table that is damaged."""
    try:
        table = read_table(path, [*NORMAL, *NUMBERS, *FLAGS, "logits"], cells=CELLS)
        texts = {name: _texts(table[name]) for name in NORMAL}
        numbers = {name: table[name].to_numpy() for name in (*NUMBERS, *FLAGS)}
        flat = np.concatenate([chunk.flatten().to_numpy() for chunk in table["logits"].chunks] or [np.zeros(0)])
        rows = len(numbers["eps"])
        return Table(texts, numbers, flat.reshape(rows, -1) if rows else flat.reshape(0, 1), head, gallery)
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        raise Problem(404, "the table of this run's images cannot be read; retry the run") from error


def _texts(column: Any) -> Texts:
    encoded = column.dictionary_encode().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    codes = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return Texts(codes, tuple(str(value) for value in encoded.dictionary.to_pylist()) or ("",))


def _short(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
