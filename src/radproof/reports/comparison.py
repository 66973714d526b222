# SPDX-License-Identifier: Apache-2.0
"""A comparison of runs in words: rows for a terminal and a page of Markdown."""

from collections.abc import Sequence

from radproof.assess.compare import Compared, Comparison
from radproof.reports.markdown import table
from radproof.reports.words import count, points, show


def comparison_rows(comparison: Comparison) -> list[dict[str, str]]:
    """One row per figure, for the terminal and for Markdown alike."""
    a, b = ("A", "B") if comparison.a != "contender" else ("with", "without")
    return [
        {
            "what": _what(row),
            "budget": row.budget,
            "defence": "" if row.defense == "none" else row.defense,
            a: str(show(row.a)),
            b: str(show(row.b)),
            "difference": str(points(row.difference)),
            f"only {a} right": str(row.only_a),
            f"only {b} right": str(row.only_b),
            "p (Holm)": f"{row.p_holm:.2g}",
            "": "differs" if row.differs else "",
            "n": str(row.difference.n),
        }
        for row in comparison.rows
    ]


def title(comparison: Comparison) -> str:
    """What is compared, on how many images."""
    on = f"{count(comparison.images, 'image')} of {count(comparison.patients, 'patient')}"
    what = "each defence against none" if comparison.a == "contender" else f"A {comparison.a} against B {comparison.b}"
    return f"{what}: {on}"


def notes(comparison: Comparison) -> list[str]:
    """What must be known before the figures."""
    found = list(comparison.differences)
    if comparison.left_out:
        found.insert(0, f"{count(comparison.left_out, 'image')} not in both runs, or not the same in both, left out")
    return found


def conclusion(comparison: Comparison) -> str:
    """How many rows differ by more than chance."""
    differing = sum(row.differs for row in comparison.rows)
    return (
        f"{differing} of {count(len(comparison.rows), 'row')} differ by more than chance explains (exact McNemar "
        f"test over images, Holm's correction, at {1 - comparison.confidence:.2g}, and 0 outside the interval; "
        "intervals: paired by image, drawn by patient)"
    )


def markdown(comparison: Comparison) -> str:
    """The comparison as a page."""
    parts = [f"# Comparison: {title(comparison)}"]
    told = notes(comparison)
    if told:
        parts += ["Not the same in both:", "\n".join(f"- {_safe(line)}" for line in told)]
    rows: Sequence[dict[str, str]] = [
        {name or "chance": box for name, box in row.items()} for row in comparison_rows(comparison)
    ]
    return "\n\n".join([*parts, table(rows), f"{conclusion(comparison)}."]) + "\n"


def _what(row: Compared) -> str:
    if row.column == "clean":
        return "clean images"
    return "under attack" if row.goal == "misclassify" else f"under attack ({row.goal})"


def _safe(text: str) -> str:
    return text.replace("<", "&lt;")
