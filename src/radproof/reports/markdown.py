# SPDX-License-Identifier: Apache-2.0
"""A run on one page of Markdown, as the job summary of GitHub and GitLab shows it: gates, headline, doubts."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from radproof.assess.result import GateVerdict, Result
from radproof.core.files import write_text
from radproof.reports.contenders import contender_tables, contender_words
from radproof.reports.detection import aware_tables, learned_table, number_tables, promise_table
from radproof.reports.detection_views import benign_grid, side_grids
from radproof.reports.detection_words import detection_words
from radproof.reports.reading import Reading
from radproof.reports.summary import summary_rows
from radproof.reports.tables import Box, Table
from radproof.reports.words import count

NAME = "summary.md"
_HEADLINE = ("clean", "headline", "corruption")
_WORDS = {"passed": "passed", "failed": "**failed**", "not established": "**not established**"}


def write_markdown(path: Path, result: Result, gates: Sequence[GateVerdict]) -> Path:
    """Write the summary, whole or not at all."""
    write_text(path, summary(result, gates))
    return path


def summary(result: Result, gates: Sequence[GateVerdict]) -> str:
    """The verdict, a table of gates, the headline with its intervals, and the doubts."""
    parts = [f"# {_text(result.title)}"]
    if result.phantom:
        parts.append("**Drawn images (phantoms): figures about the software, not about patients.**")
    if gates:
        broken = sum(gate.verdict != "passed" for gate in gates)
        told = f"{broken} of {count(len(gates), 'gate')} not passed" if broken else f"all {len(gates)} passed"
        parts += [f"## Gates: {told}", gate_table(gates)]
    parts += ["## Verdict", _text(result.verdict)]
    reading = Reading(result)
    if words := contender_words(reading):
        parts += ["## Defences", _text(words), *(told for t in contender_tables(reading) for told in _told(t))]
    if words := detection_words(reading):
        parts += ["## Detection", _text(words), *(told for t in _detection(reading) for told in _told(t))]
    parts += ["## Figures", table(_headline(result))]
    if result.doubts:
        doubts = [
            f"- **{d.doubt.severity}**, {_text(d.concerns)}: {_text(d.doubt.message)}" for d in Reading(result).doubts
        ]
        parts += ["## Doubts", "\n".join(doubts)]
    plan = str(result.provenance.get("plan", ""))[:12]
    parts.append(
        f"{count(result.images, 'image')} of {count(result.patients, 'patient')}, {result.resolution}, preset "
        f"{result.preset}, radproof {result.provenance.get('radproof', '')}, plan {plan}. Intervals in parentheses."
    )
    return "\n\n".join(parts) + "\n"


def gate_table(gates: Iterable[GateVerdict]) -> str:
    """One row per gate."""
    return table(
        [{"gate": f"`{gate.sentence}`", "verdict": _WORDS[gate.verdict], "why": gate.message} for gate in gates]
    )


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """A table of Markdown; nothing that stands in a box can end it, nor become markup of a page."""
    if not rows:
        return "Nothing to show."
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([row[name] for name in head] for row in rows)]
    return "\n".join(f"| {' | '.join(_text(box) for box in line)} |" for line in lines)


def _detection(reading: Reading) -> list[Table]:
    """Promises, attackers who know the detector, detectors side by side, and the best one attack by attack."""
    best = reading.best_detection()
    numbers = [t for name, t in number_tables(reading) if best is not None and name == best[0].detector]
    grids = [grid.table for grid in (*side_grids(reading), benign_grid(reading)) if grid is not None]
    tables = (promise_table(reading), *aware_tables(reading)[:1], *grids, *numbers, learned_table(reading))
    return [one for one in tables if one is not None]


def _told(found: Table) -> list[str]:
    """A table of the report: its caption, itself, and its note."""
    rows = [
        dict(zip(found.heads, (row.head.text, *(_boxed(box) for box in row.boxes)), strict=True)) for row in found.rows
    ]
    return [f"**{_text(found.caption)}**", table(rows), *([_text(found.note)] if found.note else [])]


def _boxed(box: Box) -> str:
    shown = [f"{one.label} {one}".strip() for one in box.shown]
    return "; ".join(part for part in (box.text, *shown, "" if box.text else box.small) if part)


def _headline(result: Result) -> list[dict[str, str]]:
    rows = [row for row in summary_rows(Reading(result)) if row["column"] in _HEADLINE]
    return [{name: value for name, value in row.items() if name != "column"} for row in rows]


def _text(text: str) -> str:
    """One line that ends no box and, but for what stands between backticks, is no markup of a page."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    whole = len(parts) % 2 == 1  # every backtick has its other
    return "`".join(p if whole and n % 2 else p.replace("<", "&lt;") for n, p in enumerate(parts))
