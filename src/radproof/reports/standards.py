# SPDX-License-Identifier: Apache-2.0
"""Findings with the clauses that they support evidence for, and the files where that evidence lies."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from radproof.assess.frameworks import ATLAS, FRAMEWORKS, OUTSIDE
from radproof.assess.standards import RESULT, ROWS, StandardsRow, standards
from radproof.reports.reading import Reading
from radproof.reports.words import Shown, show

SHORT = 12  # digits of a hash in a row; the whole stands below


@dataclass(frozen=True)
class Supported:
    """One finding."""

    title: str
    about: str
    shown: Shown | None
    says: str
    established: bool
    clauses: tuple[tuple[str, str], ...]  # framework, what of it
    evidence: str  # file
    key: str
    sha256: str  # shortened
    residual_risk: str


@dataclass(frozen=True)
class Standards:
    """The section."""

    rows: tuple[Supported, ...]
    files: tuple[tuple[str, str], ...]  # name, whole sha256
    outside: tuple[tuple[str, str, str], ...]  # what, ids, why


def standards_section(reading: Reading, run: Path) -> Standards:
    """Every finding, with the hashes of the run's files as they are now."""
    files = hashes(run)
    rows = tuple(_supported(row) for row in standards(reading.result, files))
    outside = tuple((what, _ids(names), why) for what, names, why in OUTSIDE)
    return Standards(rows, tuple(files.items()), outside)


def hashes(run: Path) -> Mapping[str, str]:
    """sha256 of the files that hold evidence, where they are there."""
    found: dict[str, str] = {}
    for name in (RESULT, ROWS):
        if (run / name).is_file():
            with (run / name).open("rb") as file:
                found[name] = file_digest(file, "sha256").hexdigest()
    return found


def _supported(row: StandardsRow) -> Supported:
    clauses = row.clauses
    told = {"atlas": _ids(row.atlas)} | {name: getattr(clauses, name) for name in FRAMEWORKS if name != "atlas"}
    return Supported(
        title=clauses.title,
        about=row.about,
        shown=show(row.estimate, strip=True) if row.estimate else None,
        says=row.says,
        established=row.established,
        clauses=tuple((FRAMEWORKS[name], text) for name, text in told.items() if text),
        evidence=row.evidence,
        key=row.key,
        sha256=row.sha256[:SHORT],
        residual_risk=row.residual_risk,
    )


def _ids(names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {ATLAS[name]}" for name in names)
