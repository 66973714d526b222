# SPDX-License-Identifier: Apache-2.0
"""A result as a report reads it: which cell answers which question, and which doubts concern it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from radproof.assess.detected import Detection, DetectionRow
from radproof.assess.result import Cell, Column, Result
from radproof.assess.verdict import REFERENCE
from radproof.core.records import Doubt, Estimate

T = TypeVar("T")

BARE = "none"
WORST = "worst"
ENSEMBLE = "ensemble (worst per image)"  # what reports call WORST: robust only if every attack failed
ATTACKED: tuple[Column, ...] = ("oblivious", "transfer", "adaptive")
BOUNDED = ("linf", "l2", "")  # threats that the ladder of budgets orders; "" where nothing was changed
_KINDS = {
    "defense": "the defence",
    "detector": "the detector",
    "attack": "the attack",
    "column": "the column",
    "view": "the view",
    "class": "the class",
    "smallest": "the smallest budgets",
    "clean": "clean images",
}


@dataclass(frozen=True)
class Numbered:
    """A doubt with the number that marks it everywhere in the report."""

    number: int
    doubt: Doubt
    concerns: str  # in words


@dataclass(frozen=True)
class Budget:
    """One rung of the ladder."""

    eps: float
    label: str  # "4/255"


@dataclass(frozen=True)
class Reading:
    """Questions to a result."""

    result: Result

    @property
    def goals(self) -> tuple[str, ...]:
        """What attackers wanted, untargeted misclassification first."""
        found = _distinct(cell.goal for cell in self.result.cells if _on_ladder(cell))
        return tuple(sorted(found, key=lambda goal: goal != "misclassify"))

    @property
    def goal(self) -> str:
        """The goal that key figures and figures are about."""
        return self.goals[0] if self.goals else ""

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The ladder, ascending."""
        rungs = {cell.eps: cell.budget for cell in self.result.cells if _on_ladder(cell)}
        return tuple(Budget(eps, rungs[eps]) for eps in sorted(rungs))

    @property
    def reference(self) -> Budget | None:
        """The rung that single figures are given at: the largest up to 4/255, else the smallest."""
        allowed = [rung for rung in self.budgets if rung.eps <= REFERENCE]
        return allowed[-1] if allowed else next(iter(self.budgets), None)

    @property
    def defenses(self) -> tuple[str, ...]:
        """The defences that scored, in the plan's order."""
        return _distinct(cell.defense for cell in self.result.cells if cell.defense != BARE)

    @property
    def attacks(self) -> tuple[tuple[str, str], ...]:
        """(attack, made on) of all that the bare model faced, white-box first; corruptions apart."""
        found = _distinct((cell.attack, cell.made_on) for cell in self.cells(BARE, ATTACKED) if cell.attack != WORST)
        return tuple(sorted(found, key=lambda pair: pair[1] != "model"))

    @property
    def others(self) -> tuple[Cell, ...]:
        """Attacks that no L-infinity or L2 budget bounds: each stands within its own limits, apart from the ladder."""
        found = [c for c in self.result.cells if c.column in (*ATTACKED, "headline") and c.threat not in BOUNDED]
        return tuple(cell for cell in found if cell.attack != WORST or cell.column == "headline")

    @property
    def corruptions(self) -> tuple[Cell, ...]:
        """What has no adversary and no budget."""
        return tuple(cell for cell in self.result.cells if cell.column == "corruption")

    def cells(
        self, defense: str, columns: Iterable[Column], goal: str | None = None, eps: float | None = None
    ) -> list[Cell]:
        """The cells of one defence in these columns; of one goal and budget where given; never those of `others`."""
        wanted = tuple(columns)
        return [
            cell
            for cell in self.result.cells
            if cell.defense == defense
            and cell.column in wanted
            and (cell.threat in BOUNDED or cell.column in ("clean", "corruption"))
            and goal in (None, cell.goal)
            and eps in (None, cell.eps)
        ]

    def clean(self, defense: str = BARE) -> Cell | None:
        """Clean images, bare or behind a defence."""
        return next(iter(self.cells(defense, ["clean"])), None)

    def bare(self, attack: str, made_on: str, goal: str, eps: float) -> Cell | None:
        """One attack against the bare model."""
        found = self.cells(BARE, ATTACKED, goal, eps)
        return next((cell for cell in found if (cell.attack, cell.made_on) == (attack, made_on)), None)

    def column(self, defense: str, column: Column, goal: str, eps: float) -> Cell | None:
        """The per-image worst of a column where the result has it, else its lowest cell."""
        found = self.cells(defense, [column], goal, eps)
        return lowest([cell for cell in found if cell.attack == WORST] or found)

    def headline(self, defense: str, goal: str, eps: float) -> Cell | None:
        """The per-image worst over all columns where the result has it, else the lowest cell."""
        found = self.cells(defense, ATTACKED, goal, eps)
        merged = self.cells(defense, ["headline"], goal, eps) or [cell for cell in found if cell.attack == WORST]
        return lowest(merged or found)

    def best_defense(self) -> str | None:
        """The defence whose headline keeps most images right at the reference budget."""
        reference = self.reference
        if reference is None:
            return None
        found = {name: self.headline(name, self.goal, reference.eps) for name in self.defenses}
        scored = {name: right for name, cell in found.items() if (right := _right(cell)) is not None}
        return max(scored, key=lambda name: scored[name]) if scored else None

    def hardest(self, detection: Detection) -> DetectionRow | None:
        """The attack at the reference budget that a detector flags least often, among those that fooled the model.

        Attacks that know the detector stand apart: see `unseen`.
        """
        rows = [row for row in detection.rows if row.kind == "attack"]
        told = [row for row in rows if row.detected.value is not None] or rows
        return min(self._comparable(told), key=lambda row: _or(row.detected.value, 2.0), default=None)

    def unseen(self, detection: Detection, *kinds: str) -> DetectionRow | None:
        """The attack of these kinds at the reference budget that most often fools the model without being flagged."""
        rows = [row for row in detection.rows if row.kind in kinds and row.undetected_success.value is not None]
        return max(self._comparable(rows), key=lambda row: _or(row.undetected_success.value, -1.0), default=None)

    def best_detection(self) -> tuple[Detection, DetectionRow] | None:
        """The detector that lets least pass, with the attack it sees worst; doubted ones come last.

        Judged by the attackers who know it; where there is none, by the attack that it flags least often.
        """
        pairs = [(found, row) for found in self.result.detection if (row := self.hardest(found)) is not None]
        known = any(row.kind == "aware" for found, _ in pairs for row in found.rows)

        def rank(pair: tuple[Detection, DetectionRow]) -> tuple[bool, bool, float]:
            found, row = pair
            sound = found.threshold is not None and not self.serious(f"detector:{found.detector}")
            if not known:
                return sound, False, _or(row.detected.value, -1.0)
            worst = self.unseen(found, "attack", "aware")
            passed = _or(worst.undetected_success.value, 1.0) if worst else 1.0
            return sound, self.unseen(found, "aware") is not None, -passed

        return max(pairs, key=rank, default=None)

    def _comparable(self, rows: list[DetectionRow]) -> list[DetectionRow]:
        """Those at the reference budget, of images that fooled the model, with a budget; as far as there are."""
        reference = self.reference
        rows = [row for row in rows if reference and row.eps == reference.eps] or rows
        rows = [row for row in rows if row.positives == "successful"] or rows
        apart = {cell.attack for cell in self.others}
        return [row for row in rows if row.attack not in apart] or rows

    @property
    def doubts(self) -> tuple[Numbered, ...]:
        """Every doubt, serious ones first, with its number."""
        ordered = sorted(self.result.doubts, key=lambda doubt: doubt.severity != "serious")
        return tuple(Numbered(i, doubt, self._concerns(doubt.about)) for i, doubt in enumerate(ordered, 1))

    def marks(self, *about: str) -> tuple[int, ...]:
        """Numbers of the doubts about any of these."""
        return tuple(numbered.number for numbered in self.doubts if numbered.doubt.about in about)

    def serious(self, *about: str) -> tuple[int, ...]:
        """Numbers of the serious doubts about any of these, or about everything."""
        return tuple(
            numbered.number
            for numbered in self.doubts
            if numbered.doubt.severity == "serious" and numbered.doubt.about in ("all", *about)
        )

    def _concerns(self, about: str) -> str:
        if about in ("", "all"):
            return "every number of this report"
        cell = next((cell for cell in self.result.cells if cell.key == about), None)
        if cell is not None:
            return describe(cell)
        if about == f"defense:{BARE}":
            return "the bare model"
        kind, _, which = about.partition(":")
        return f"{_KINDS.get(kind, kind.replace('_', ' '))} {which}".strip()


def about(cell: Cell | None) -> tuple[str, ...]:
    """What doubts may call a cell."""
    if cell is None:
        return ()
    names = [cell.key, cell.column, f"column:{cell.column}"]
    if cell.attack not in (BARE, WORST):
        names += [cell.attack, f"attack:{cell.attack}"]
    names.append(f"defense:{cell.defense}")
    return tuple(names if cell.defense == BARE else [*names, cell.defense])


def describe(cell: Cell) -> str:
    """'sia at 4/255, no defence'."""
    what = {BARE: "clean images", WORST: ENSEMBLE}.get(cell.attack, cell.attack)
    at = f" at {cell.budget}" if cell.budget and cell.column != "corruption" else ""
    if cell.column == "aware":
        return f"{what}{at}, made against {cell.made_on}"
    behind = "no defence" if cell.defense == BARE else f"behind {cell.defense} ({cell.column})"
    return f"{what}{at}, {behind}"


def _on_ladder(cell: Cell) -> bool:
    return cell.column in (*ATTACKED, "headline") and cell.threat in BOUNDED


def still_right(cell: Cell | None) -> Estimate | None:
    """Share of images right before and after; the accuracy where nothing came before."""
    return None if cell is None else cell.robust_accuracy or cell.scores.accuracy


def lowest(cells: Iterable[Cell]) -> Cell | None:
    """The cell with the fewest images still right."""
    return min(cells, key=lambda cell: _or(_right(cell), 2.0), default=None)


def _right(cell: Cell | None) -> float | None:
    estimate = still_right(cell)
    return None if estimate is None else estimate.value


def _or(value: float | None, instead: float) -> float:
    return instead if value is None else value


def _distinct(items: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(items))
