# SPDX-License-Identifier: Apache-2.0
"""What lists and cards show of a finished run, taken from its result.json."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from radproof.errors import BadData

_MOST = 2_000  # characters of a sentence


def read_summary(path: Path) -> dict[str, Any]:
    """Verdict, accuracy, robust accuracy per budget, score vector, doubts by severity, gates. Raises BadData."""
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return summarise(result)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise BadData("the run ended without a result that can be read; retry it") from None


def size_of(folder: Path) -> int:
    """Bytes of all files below; 0 where it is not there."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # gone meanwhile
                total += Path(parent, name).lstat().st_size
    return total


def summarise(result: dict[str, Any]) -> dict[str, Any]:
    """A few kilobytes. Estimates are {value, low, high, n}."""
    doubts: list[dict[str, Any]] = result["doubts"]
    cells: list[dict[str, Any]] = result["cells"]
    return {
        "title": str(result["title"])[:200],
        "verdict": str(result["verdict"])[:_MOST],
        "phantom": bool(result["phantom"]),
        "images": result["images"],
        "patients": result["patients"],
        "labels": result["labels"][:100],
        "preset": result["preset"],
        "accuracy": next((_estimate(c["scores"]["accuracy"]) for c in _clean(cells)), None),
        "defended": {c["defense"]: _estimate(c["scores"]["accuracy"]) for c in _clean(cells, bare=False)},
        "robust": [
            {
                "defense": c["defense"],
                "goal": c["goal"],
                "eps": c["eps"],
                "budget": c["budget"],
                "accuracy": _estimate(c["robust_accuracy"]),
            }
            for c in cells
            if c["column"] == "headline"
        ],
        "score": [_score(one) for one in result.get("score", [])],
        "doubts": {
            severity: sum(doubt["severity"] == severity for doubt in doubts) for severity in ("serious", "note")
        },
        "gates": [
            {"sentence": gate["sentence"][:300], "verdict": gate["verdict"], "message": gate["message"][:500]}
            for gate in result.get("gates", [])
        ],
        "seconds": result["timing"]["seconds"],
    }


def _clean(cells: list[dict[str, Any]], *, bare: bool = True) -> Iterable[dict[str, Any]]:
    return (cell for cell in cells if cell["column"] == "clean" and (cell["defense"] == "none") == bare)


def _score(one: dict[str, Any]) -> dict[str, Any]:
    parts = [
        {
            "name": part["name"],
            "at": part["at"],
            "grade": part["grade"],
            "bound": part["bound"],
            "estimate": _estimate(part["estimate"]),
        }
        for part in one["components"]
    ]
    return {"contender": one["contender"], "grade": one["grade"], "reason": one["reason"][:500], "components": parts}


def _estimate(given: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if given is None else {key: given[key] for key in ("value", "low", "high", "n")}
