# SPDX-License-Identifier: Apache-2.0
"""Facts of a result as a page lists them: paths shortened, small tables recognised, the plan as people write it."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from radproof.core.params import show_fraction
from radproof.core.records import Estimate
from radproof.reports.words import Shown, show

_FIRST = ("name", "title", "seed", "preset", "device", "data", "model", "surrogates", "attacks", "budgets", "goals")


def methods(value: Any) -> list[str]:
    """Every way in which an interval of this result was made, the commonest first."""
    found: Counter[str] = Counter()

    def walk(one: Any) -> None:
        if isinstance(one, Mapping):
            mapping: Mapping[str, Any] = dict(one)  # pyright: ignore[reportUnknownArgumentType]
            if "method" in mapping and mapping.get("value") is not None:
                found[str(mapping["method"])] += 1
            for inner in mapping.values():
                walk(inner)
        elif isinstance(one, (list, tuple)):
            for inner in list[Any](one):  # pyright: ignore[reportUnknownArgumentType]
                walk(inner)

    walk(value)
    return sorted(found, key=lambda method: (-found[method], method))


def short_path(text: str) -> str:
    """The last part of an absolute path: the rest may name persons and machines, which are nobody's business."""
    if re.match(r"/.|[A-Za-z]:[\\/]|\\\\", text):
        return "…/" + re.split(r"[\\/]", text.rstrip("/"))[-1]
    return text


def bound(text: str) -> str:
    """No line ends between a number and its unit."""
    return re.sub(r"(?<=\d) (?=%|dB\b|points\b)", "\u00a0", text)


def plan_text(plan: Mapping[str, Any]) -> str:
    """The plan as YAML, in the order and the spelling in which people write plans."""
    ordered = {key: plan[key] for key in (*_FIRST, *plan) if key in plan}
    if isinstance(ordered.get("budgets"), (list, tuple)):
        ordered["budgets"] = [show_fraction(eps) for eps in ordered["budgets"]]
    return yaml.safe_dump(shortened(ordered), sort_keys=False, allow_unicode=True, width=88)


def shortened(value: Any) -> Any:
    """The same with every path shortened."""
    if isinstance(value, Mapping):
        return {str(key): shortened(inner) for key, inner in dict[Any, Any](value).items()}
    if isinstance(value, (list, tuple)):
        return [shortened(inner) for inner in list[Any](value)]
    return short_path(value) if isinstance(value, str) else value


def is_estimate(value: Mapping[str, Any]) -> bool:
    """Whether a mapping is a figure with its interval."""
    return set(value) >= {"value", "low", "high", "method", "n"}


def is_grid(value: Mapping[str, Any]) -> bool:
    """Whether all rows have the same few columns of plain values: a small table says it best."""
    rows: list[dict[str, Any]] = [dict(one) for one in value.values() if isinstance(one, Mapping)]
    if len(rows) < 2 or len(rows) != len(value):
        return False
    flat = all(not isinstance(inner, (Mapping, list, tuple)) for row in rows for inner in row.values())
    return flat and 0 < len(rows[0]) <= 6 and all(row.keys() == rows[0].keys() for row in rows)


def as_shown(value: Mapping[str, Any]) -> Shown:
    """A figure of a card, in words."""
    try:
        return show(Estimate.model_validate(dict(value)), "score")
    except ValidationError:
        return Shown(json.dumps(value, sort_keys=True), "", "")
