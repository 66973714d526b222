# SPDX-License-Identifier: Apache-2.0
"""The form's gates: rows of a figure, a comparison and a limit, as the sentences of a plan."""

import re
from collections.abc import Iterable, Mapping, Sequence

from radproof.assess.gate_sentence import FIGURES, read_gate
from radproof.errors import BadPlan

BLANK, MOST = 2, 40  # rows to fill in; rows at all
DOUBTS, WORSE = "no serious doubts", "not worse than"
PARTS = ("figure", "way", "limit", "at", "also")
WAYS = ((">=", "at least (>=)"), ("<=", "at most (<=)"))
_SENTENCE = re.compile(r"(\w+) (>=|<=) (\S+?)(?: @ (radius )?(\S+))?( (?:with|under|for|by) .+)?")
Fields = dict[str, list[str]]


def offered() -> list[tuple[str, str]]:
    """Figures for a choice, each with the way that it is bounded."""
    named = [(name, f"{name.replace('_', ' ')} ({way})") for name, way in FIGURES.items()]
    return [("", "none"), *named, (DOUBTS, DOUBTS), (WORSE, "not worse than another run")]


def rows(told: Mapping[str, list[str]]) -> list[dict[str, str]]:
    """What stands in each row, with blank ones after the last that is filled in or was asked for."""
    numbers = [int(found[1]) for name in told if (found := re.fullmatch(r"gate\.(\d{1,2})\.\w+", name))]
    used = max((number + 1 for number in numbers if _row(told, number)["figure"]), default=0)
    asked = _first(told, "gate_rows")
    shown = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 4 else 0
    return [_row(told, number) for number in range(min(max(used + BLANK, shown), MOST))]


def fields(sentences: Iterable[str]) -> tuple[Fields, bool]:
    """A plan's gates as fields, and whether these say all of them."""
    kept, found = list(sentences), Fields()
    for number, sentence in enumerate(kept):
        found |= {f"gate.{number}.{part}": [text] for part, text in _split(" ".join(sentence.split())).items()}
    return found, gates(found, {}) == [" ".join(one.split()) for one in kept]


def gates(told: Mapping[str, list[str]], errors: dict[str, str]) -> list[str]:
    """The sentences; `errors` gains what is no gate, at its row."""
    found: list[str] = []
    for number, row in enumerate(rows(told)):
        if not row["figure"]:
            if any(row[part] for part in PARTS if part != "way"):
                errors[f"gate.{number}.figure"] = "choose the figure that is promised, or empty the row"
            continue
        sentence = _sentence(row)
        try:
            read_gate(sentence)
        except BadPlan as error:
            errors[f"gate.{number}.{_part(row)}"] = _why(str(error))
        found.append(sentence)
    return found


def place(message: str, told: Mapping[str, list[str]]) -> tuple[str, str]:
    """The row's field that an error of a plan is about, and what is wrong."""
    for number, row in enumerate(rows(told)):
        if row["figure"] and f"gate {_sentence(row)!r}" in message:
            return f"gate.{number}.{'at' if 'budgets' in message else 'also' if row['also'] else 'limit'}", _why(
                message
            )
    return "gate", _why(message)


def _sentence(row: Mapping[str, str]) -> str:
    if row["figure"] == DOUBTS:
        return DOUBTS
    way = row["way"] or FIGURES.get(row["figure"], ">=")
    head = f"{WORSE} {row['limit']}" if row["figure"] == WORSE else f"{row['figure']} {way} {row['limit']}"
    radius = "radius " if row["figure"] == "certified_accuracy" and not row["at"].startswith("radius") else ""
    words = [head, f"@ {radius}{row['at']}" if row["at"] else "", row["also"]]
    return " ".join(" ".join(words).split())


def _split(sentence: str) -> dict[str, str]:
    if sentence == DOUBTS:
        return {"figure": DOUBTS}
    if sentence.startswith(f"{WORSE} "):
        return {"figure": WORSE, "limit": sentence.removeprefix(f"{WORSE} ")}
    found = _SENTENCE.fullmatch(sentence)
    if found is None or found[1] not in FIGURES:
        return {}
    told = {"figure": found[1], "way": found[2], "limit": found[3], "at": found[5] or "", "also": found[6] or ""}
    return {part: text.strip() for part, text in told.items()}


def _part(row: Mapping[str, str]) -> str:
    """The field of a row that is most likely wrong."""
    if row["figure"] in (DOUBTS, WORSE):
        return "limit"
    if row["way"] and row["way"] != FIGURES.get(row["figure"]):
        return "way"
    try:
        read_gate(_sentence({**row, "at": "", "also": ""}))
    except BadPlan as error:
        return "at" if "budget is missing" in str(error) else "also" if "detector" in str(error) else "limit"
    return "at" if row["at"] and not row["also"] else "also"


def _why(message: str) -> str:
    """Without the sentence and the grammar, which the form shows by its fields."""
    first = message.split("; a gate is one of")[0].split("\n")[0]
    return re.sub(r"^(?:plan: )?gate '.*?': ", "", first)


def _row(told: Mapping[str, list[str]], number: int) -> dict[str, str]:
    return {part: _first(told, f"gate.{number}.{part}").strip() for part in PARTS}


def _first(told: Mapping[str, Sequence[str]], name: str) -> str:
    return next(iter(told.get(name, ())), "")
