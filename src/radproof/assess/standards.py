# SPDX-License-Identifier: Apache-2.0
"""Which clause of which framework a finding supports evidence for, and where that evidence lies.

Computed from a finished result. It shows no conformity: it says where a reader who judges conformity may look.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from radproof.assess.frameworks import CLAUSES, Clauses
from radproof.assess.result import Cell, Result
from radproof.assess.score import BARE, LARGE, concerning, findings_of, headline
from radproof.core.records import Estimate, Record

RESULT, ROWS = "result.json", "rows.parquet"


class StandardsRow(Record):
    """One finding with the clauses that it supports evidence for."""

    kind: str  # of CLAUSES
    about: str  # "4/255, worst per image"
    estimate: Estimate | None
    says: str  # what the figure is, or a sentence instead of one
    atlas: tuple[str, ...]  # ids
    evidence: str  # file of the run
    key: str  # cell of result.json, or where else in the file
    sha256: str  # of the file; "" where it is not at hand
    established: bool  # False where a serious doubt concerns it
    residual_risk: str = ""  # for the reader to fill in

    @property
    def clauses(self) -> Clauses:
        """What it has to do with."""
        return CLAUSES[self.kind]


def standards(result: Result, files: Mapping[str, str]) -> tuple[StandardsRow, ...]:
    """Every finding of a result with its clauses; `files` gives the sha256 of the run's files by name."""
    rows = [row for find in _FINDERS for row in find(result)]
    return tuple(row.model_copy(update={"sha256": files.get(row.evidence, "")}) for row in rows)


def _row(
    result: Result,
    kind: str,
    about: str,
    estimate: Estimate | None,
    says: str,
    key: str,
    *,
    contender: str = BARE,
    evidence: str = ROWS,
    atlas: tuple[str, ...] = (),
) -> StandardsRow:
    serious = concerning(findings_of(result), contender)
    return StandardsRow(
        kind=kind,
        about=about,
        estimate=estimate,
        says=says,
        atlas=atlas or CLAUSES[kind].atlas,
        evidence=evidence,
        key=key,
        sha256="",
        established=not serious,
    )


def _accuracy(result: Result) -> Iterator[StandardsRow]:
    for cell in result.cells:
        if cell.column == "clean" and cell.defense == BARE:
            yield _row(result, "accuracy", "clean images", cell.scores.accuracy, "answered rightly", cell.key)


def _bounded(result: Result) -> Iterator[StandardsRow]:
    cell = headline(result.cells, BARE, "misclassify", LARGE)
    if cell is None:
        return
    bare = [c for c in result.cells if _attack(c) and c.defense == BARE and (c.eps, c.goal) == (cell.eps, cell.goal)]
    kinds: dict[str, Callable[[Cell], bool]] = {
        "white_box": lambda c: c.column == "oblivious" and c.backwards > 0,
        "transfer": lambda c: c.column == "transfer",
        "query": lambda c: c.column == "oblivious" and not c.backwards and c.forwards > 0,
    }
    for kind, belongs in kinds.items():
        found = [c for c in bare if belongs(c)]
        if found:
            yield _success(result, kind, _hardest(found))


def _others(result: Result) -> Iterator[StandardsRow]:
    found = [c for c in result.cells if c.defense == BARE and c.column in ("oblivious", "transfer")]
    found = [c for c in found if c.threat not in ("linf", "l2", "") and c.attack != "worst"]
    if found:
        yield _success(result, "other", _hardest(found))


def _missed(result: Result) -> Iterator[StandardsRow]:
    goals = ("missed-finding", "misclassify")
    cell = next((c for goal in goals if (c := headline(result.cells, BARE, goal, LARGE))), None)
    if cell and cell.scores.missed_findings:
        says = "of the images with disease are read as Normal"
        yield _row(result, "missed", f"{cell.budget}, worst per image", cell.scores.missed_findings, says, cell.key)


def _defenses(result: Result) -> Iterator[StandardsRow]:
    hardened = result.plan.get("hardened") or {}
    for name in dict.fromkeys(c.defense for c in result.cells if c.column == "clean" and c.defense != BARE):
        cell = headline(result.cells, name, "misclassify", LARGE)
        if cell is None:
            continue
        how = hardened.get(name) or {}
        ids = ("AML.M0006",) if how.get("of") else ("AML.M0003",) if name in hardened else ("AML.M0010",)
        about = f"{name}, {cell.budget}, worst per image of all columns"
        says = "stay right"
        yield _row(result, "defense", about, cell.robust_accuracy, says, cell.key, contender=name, atlas=ids)


def _detectors(result: Result) -> Iterator[StandardsRow]:
    for one in result.detection:
        rows = [row for row in one.rows if row.detected.value is not None and row.kind != "smallest"]
        worst = min(rows, key=lambda row: row.detected.value or 0.0, default=None)
        if one.threshold is None or worst is None:
            continue
        about = f"{one.detector}, on {worst.attack} at {worst.budget or 'its own limits'}, which it sees worst"
        says = "of the successful attacks are flagged"
        yield _row(result, "detection", about, worst.detected, says, f"detection: {one.detector}", evidence=RESULT)


def _corruptions(result: Result) -> Iterator[StandardsRow]:
    for one in result.corruptions:
        about = "the graded corruptions" + ("" if one.defense == BARE else f", {one.defense}")
        says = "of the clean accuracy is kept"
        key = f"corruptions: {one.defense}"
        yield _row(result, "corruption", about, one.kept, says, key, contender=one.defense, evidence=RESULT)


def _certified(result: Result) -> Iterator[StandardsRow]:
    found = result.certified
    if found is None:
        return
    proved = [point for point in found.curve if point.radius > 0 and point.accuracy.value]
    point = proved[-1] if proved else next((p for p in found.curve if p.radius > 0), found.curve[0])
    about = f"{found.network}, noise of {found.sigma:g}, L2 radius {point.radius:g}"
    says = "are right, with a proof that no change within the radius turns them"
    contender = BARE if found.network == "model" else found.network
    yield _row(result, "certified", about, point.accuracy, says, "certified", contender=contender, evidence=RESULT)


def _doubts(result: Result) -> Iterator[StandardsRow]:
    serious = [doubt.kind for doubt in result.doubts if doubt.severity == "serious"]
    kinds = ", ".join(dict.fromkeys(kind.replace("-", " ") for kind in serious))
    says = f"serious doubts: {kinds}" if kinds else "no check found anything serious"
    yield _row(result, "doubts", "all figures", None, says, "doubts", evidence=RESULT)


_FINDERS = (
    _accuracy,
    _bounded,
    _others,
    _missed,
    _detectors,
    _defenses,
    _corruptions,
    _certified,
    _doubts,
)


def _success(result: Result, kind: str, cell: Cell) -> StandardsRow:
    within = cell.budget or cell.limits or "its own limits"
    on = "" if cell.made_on in ("", "model") else f", made on {cell.made_on}"
    return _row(result, kind, f"{cell.attack}, {within}{on}", cell.success, "of the right answers turn wrong", cell.key)


def _attack(cell: Cell) -> bool:
    return cell.threat == "linf" and cell.attack != "worst" and cell.column in ("oblivious", "transfer")


def _hardest(cells: Sequence[Cell]) -> Cell:
    return max(cells, key=lambda c: c.success.value or 0.0 if c.success else 0.0)
