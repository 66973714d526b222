# SPDX-License-Identifier: Apache-2.0
"""A finished run as it is read again: its result, and what became of every image."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
from pydantic import ValidationError

from radproof.assess.answers import NORMS
from radproof.assess.result import SCHEMA_VERSION, Result
from radproof.core.tables import read_table
from radproof.errors import BadData, BadInput

if TYPE_CHECKING:
    import pandas as pd

ROWS = "rows.parquet"
_CELLS = 100_000_000  # values of the table of answers
_BYTES = 512 * 2**20  # of a result
_CELL = ["column", "attack", "goal", "budget", "made_on", "defense"]
_NEEDED = [*_CELL, "sample", "patient", "truth", "eps", "right", "clean_right", "sha256"]


class Question(NamedTuple):
    """What is asked of every image: is it answered rightly, clean or at its worst, at a budget, by whom."""

    column: str  # "clean" or "headline"
    goal: str  # "" for clean images
    eps: float
    budget: str
    threat: str  # the norm, "" for clean images
    defense: str  # "none" or a contender


@dataclass(frozen=True)
class Finished:
    """The folder of a finished run."""

    path: Path
    result: Result

    @cached_property
    def images(self) -> "pd.DataFrame":
        """The assessed images by name: patient (the image itself where it has none), truth, sha256 of the file."""
        clean = self._rows[(self._rows["column"] == "clean") & (self._rows["defense"] == "none")]
        images = clean.set_index("sample")[["patient", "truth", "sha256"]]
        return images.assign(patient=images["patient"].where(images["patient"] != "", images.index))

    @cached_property
    def answers(self) -> dict[Question, "pd.Series[bool]"]:
        """Whether each image in scope was right: on clean images, and before and after the worst attack per image.

        The headline is made as the result's own: of the first norm that the run has, over all columns.
        """
        rows = self._rows.set_index("sample")
        found: dict[Question, pd.Series[bool]] = {}
        for defense, group in rows[rows["column"] == "clean"].groupby("defense", sort=False):
            found[Question("clean", "", 0.0, "", "", str(defense))] = group["right"].astype(bool)
        norm = next((norm for norm in NORMS if (rows["threat"] == norm).any()), None)
        attacked = rows[rows["threat"] == norm]
        for key, group in attacked.groupby(["goal", "eps", "budget", "defense"], sort=False):
            goal, eps, budget, defense = key
            held = (group["right"] & group["clean_right"]).groupby(level=0, sort=False).all()
            found[Question("headline", str(goal), float(str(eps)), str(budget), str(norm), str(defense))] = held
        return found

    @cached_property
    def _rows(self) -> "pd.DataFrame":
        try:
            rows = read_table(self.path / ROWS, _NEEDED, cells=_CELLS).to_pandas()
        except (OSError, pa.ArrowException) as error:
            raise BadInput(f"cannot read {self.path / ROWS}: {error}; run `radproof assess` again") from None
        threats = {
            (c.column, c.attack, c.goal, c.budget, c.made_on, c.defense): c.threat
            for c in self.result.cells
            if c.column in ("oblivious", "transfer", "adaptive")
        }
        keys = rows[_CELL].itertuples(index=False, name=None)
        return rows.assign(threat=[threats.get(key, "") for key in keys])


def open_run(path: Path) -> Finished:
    """Open a finished run. Raises BadInput saying what is wrong with the folder."""
    return Finished(path, read_result(path))


def read_result(run: Path) -> Result:
    """The result of a finished run. Raises BadInput saying what is wrong with the folder."""
    path = run / "result.json"
    try:
        if (size := path.stat().st_size) > _BYTES:
            raise BadData(f"{path} holds {size:,} bytes, more than the limit of {_BYTES:,}; check where it is from")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(
            f"no result.json in {run}; expected the folder of a finished run; finish it with `radproof assess`"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}: {error}") from None
    try:
        return Result.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(
            f"{path} is no result of schema version {SCHEMA_VERSION}: {where or 'it'}: {first['msg']}; "
            "run `radproof assess` again with this version"
        ) from None
