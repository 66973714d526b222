# SPDX-License-Identifier: Apache-2.0
"""The images of a finished run: which were fooled, filtered and counted, from the table behind the result."""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from pydantic import BaseModel

from radproof.api.http.paging import broken, sealed, unsealed
from radproof.api.http.problems import Problem
from radproof.api.results.caching import MEBIBYTE, BoundedCache
from radproof.api.results.drawable import DRAWN, NOTHING, Drawable
from radproof.api.results.finished import ROWS, Stamp, finished, result_json
from radproof.api.results.table import Table, read_rows
from radproof.store.settings import Settings
from radproof.store.tables import Run

Outcome = Literal["fooled", "held", "wrong_before"]
Kind = Literal["original", "attacked", "defended", "difference", "cam_before", "cam_after"]
OUTCOMES: tuple[Outcome, ...] = ("fooled", "held", "wrong_before")
KINDS: tuple[Kind, ...] = ("original", "attacked", "defended", "difference", "cam_before", "cam_after")


class ImageRow(BaseModel):
    """One attacked image and how one scorer answered it."""

    id: str  # of this row: image, attack and scorer
    sample: str  # of the original: a hash
    truth: str  # several findings are joined by |
    column: str  # oblivious, transfer, adaptive, aware, corruption
    attack: str
    goal: str
    budget: str  # "4/255"; "" for a threat without a budget
    eps: float
    made_on: str
    defense: str  # "none" or the defence that scored
    clean_answer: str
    clean_confidence: float  # in that answer
    attacked_answer: str
    attacked_confidence: float
    clean_in_truth: float  # confidence in the truth
    attacked_in_truth: float
    fooled: bool
    outcome: Outcome
    linf: float | None = None  # stored, in [0, 1] pixel units
    ssim: float | None = None
    amplified: float | None = None  # how much `difference` amplifies the change
    kinds: list[Kind]  # the pictures that are stored
    drawn: list[Kind]  # those that are drawn when they are asked for


class Facet(BaseModel):
    """One value that a filter may have, and how many rows the other filters leave with it."""

    value: str
    count: int


class BudgetOutcome(BaseModel):
    """What became of the images at one budget."""

    budget: str
    eps: float
    images: int
    fooled: int
    held: int
    wrong_before: int


@dataclass(frozen=True)
class Filters:
    """Which rows; None takes all."""

    attack: str | None = None
    budget: str | None = None
    goal: str | None = None
    defense: str | None = None
    made_on: str | None = None
    label: str | None = None  # a class that the truth holds
    outcome: str | None = None  # one of OUTCOMES
    sample: str | None = None


@dataclass(frozen=True)
class RunImages:
    """All rows of a run, in the order of its table."""

    table: Table
    drawable: Drawable = NOTHING

    def page(self, chosen: Filters, cursor: str | None = None, limit: int = 50) -> tuple[list[ImageRow], str | None]:
        """At most `limit` rows and the cursor of those after them. Raises Problem 422 for a broken cursor."""
        found = self.table.where(_told(chosen))
        begin = 0
        if cursor:
            begin = self.table.after(found, self._at(unsealed(cursor)))
        shown = found[begin : begin + limit]
        rows = [self._row(int(at)) for at in shown]
        more = len(found) > begin + limit and rows
        return rows, sealed(rows[-1].id) if more else None

    def one(self, name: str) -> ImageRow:
        """The row of this name. Raises Problem 404."""
        at = self.table.named(name)
        if at is None:
            raise Problem(404, "no image of that name in this run")
        return self._row(at)

    def count(self, chosen: Filters) -> int:
        """How many rows."""
        return len(self.table.where(_told(chosen)))

    def around(self, name: str, chosen: Filters) -> tuple[str | None, str | None]:
        """The names of the rows before and after this one among the chosen ones; for a viewer's arrows."""
        at = self.table.named(name)
        if at is None:
            raise Problem(404, "no image of that name in this run")
        found = self.table.where(_told(chosen))
        after = self.table.after(found, at)
        before = after - 1 - (1 if after and int(found[after - 1]) == at else 0)
        earlier = self.table.name(int(found[before])) if before >= 0 else None
        return earlier, self.table.name(int(found[after])) if after < len(found) else None

    def siblings(self, name: str) -> list[ImageRow]:
        """The same image under the same attack, goal, network and scorer, at every budget, smallest first."""
        at = self.table.named(name)
        if at is None:
            raise Problem(404, "no image of that name in this run")
        return [self._row(one) for one in self.table.siblings(at)]

    def facets(self, chosen: Filters = Filters()) -> dict[str, list[Facet]]:
        """For every filter its values and what the other filters leave of each."""
        found: dict[str, list[Facet]] = {}
        for one in fields(Filters):
            if one.name != "sample":
                counted = self.table.counts(one.name, _told(replace(chosen, **{one.name: None})))
                found[one.name] = [Facet(value=value, count=count) for value, count in counted]
        return found

    def outcome_by_budget(self, chosen: Filters = Filters()) -> list[BudgetOutcome]:
        """What became of the images at every budget, smallest first; `budget` and `outcome` are ignored."""
        told = _told(replace(chosen, budget=None, outcome=None))
        return [BudgetOutcome.model_validate(one) for one in self.table.by_budget(told)]

    def _at(self, name: str) -> int:
        at = self.table.named(name)
        if at is None:
            raise broken()
        return at

    def _row(self, at: int) -> ImageRow:
        told = self.table.row(at)
        wanted = [kind for kind in DRAWN if kind not in told["kinds"]]
        drawn = [kind for kind in wanted if not self.drawable.why_not(kind, told["defense"])]
        return ImageRow.model_validate({**told, "drawn": drawn})


def run_images(settings: Settings, run: Run) -> RunImages:
    """The images of a finished run, kept open for the next request. Raises Problem 404 where it has no result."""
    file = finished(settings, run, ROWS)
    result = finished(settings, run)
    return _OPENED.get((file, result), lambda: _opened(file, result_json(settings, run)))


def _opened(file: Stamp, told: dict[str, Any]) -> RunImages:
    return RunImages(read_rows(file.path, str(told["head"]), told["gallery"]), Drawable.of(told))


_OPENED: BoundedCache[RunImages] = BoundedCache(6, 192 * MEBIBYTE, lambda one: one.table.bytes)


def _told(chosen: Filters) -> dict[str, str]:
    return {one.name: value for one in fields(chosen) if (value := getattr(chosen, one.name)) is not None}
