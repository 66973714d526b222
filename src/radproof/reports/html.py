# SPDX-License-Identifier: Apache-2.0
"""The report as one page that needs nothing else: no network, no script, no file beside it."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import ValidationError

from radproof.assess.finished import read_result
from radproof.assess.result import Result
from radproof.core.files import write_text
from radproof.core.params import show_fraction
from radproof.core.records import Estimate
from radproof.reports import (
    cards,
    certified,
    charts,
    checks,
    contenders,
    corruption,
    costs,
    detection,
    detection_views,
    detection_words,
    evidence,
    figures,
    score,
    spending,
    standards,
    summary,
    survival,
    tables,
    threats,
)
from radproof.reports.pictures import strips
from radproof.reports.reading import Reading
from radproof.reports.transfer import transfers
from radproof.reports.words import Shown, plain, seconds, show

NAME = "report.html"
LONGEST = 20  # items of a list that the page spells out


def write_report(run: Path) -> Path:
    """Draw run/result.json as run/report.html, whole or not at all.

    Raises BadInput when the folder holds no readable result, BadData when its gallery was altered.
    """
    path = run / NAME
    result = read_result(run)
    write_text(path, render(result, run))
    contenders.write_figure(run / "defences.svg", Reading(result))
    return path


def summary_rows(result: Result) -> list[dict[str, str]]:
    """The summary table, for the page and for the command line: every row has the same keys, in printing order.

    attack (with its goal where that is not any wrong answer, and with the network it was made on where that is not
    the model), budget ("own limits" for threats without one), defence, column (clean, bare, oblivious, transfer,
    adaptive, headline or corruption), still right (accuracy of clean and corrupted images, robust accuracy
    of attacked ones), success, both as `62 % (54–70)`, and n, the images behind "still right". A box is empty where
    the question does not arise.
    """
    return summary.summary_rows(Reading(result))


def render(result: Result, run: Path) -> str:
    """The page as text; equal results give equal bytes. `run` is where gallery files are."""
    reading, smallest = Reading(result), result.smallest
    environment = Environment(
        loader=PackageLoader("radproof.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(bound=_bound, plain=plain, seconds=seconds, short_path=short_path)
    return environment.get_template("report.html.j2").render(
        r=result,
        reading=reading,
        style=(files("radproof.reports") / "templates" / "style.css").read_text(encoding="utf-8"),
        doubts={one.number: one.doubt.message for one in reading.doubts},
        cards=cards.cards(reading),
        story=cards.story(reading),
        attack_tables=tables.attack_tables(reading),
        defense_tables=tables.defense_tables(reading),
        contender_tables=contenders.contender_tables(reading),
        contender_words=contenders.contender_words(reading),
        contender_figure=contenders.contender_figure(reading),
        threat_tables=threats.threat_tables(reading),
        transfers=transfers(result.transfer),
        survival_tables=survival.survival_tables(reading),
        survival_words=survival.survival_words(reading),
        spending=spending.spending_figure(reading),
        spending_table=spending.spending_table(reading),
        certified_chart=certified.certified_chart(result.certified),
        certified_table=certified.certified_table(result.certified),
        certified_words=certified.certified_words(result.certified),
        cost_table=costs.cost_table(reading),
        score_tables=score.score_tables(reading),
        score_words=score.score_words(reading),
        detection=detection,
        detection_words=detection_words.detection_words(reading),
        detection_grids=detection_views.detection_grids(reading),
        side_grids=detection_views.side_grids(reading),
        detection_charts=detection_views.detection_charts(reading),
        benign_grid=detection_views.benign_grid(reading),
        corruption_grids=corruption.corruption_grids(reading),
        corruption_words=corruption.corruption_words(reading),
        standards=standards.standards_section(reading, run),
        evidence=evidence,
        checks=checks,
        figures=figures,
        smallest_stored=show(smallest.median_stored, "budget", most=smallest.most) if smallest else None,
        smallest_float=show(smallest.median_float, "budget", most=smallest.most) if smallest else None,
        smallest_chart=figures.smallest_chart(smallest) if smallest else None,
        gallery=strips(result.gallery, run),
        methods=methods(result.model_dump(mode="json")),
        training={key: value for key, value in (result.training or {}).items() if key != "history"},
        plan=yaml.safe_dump(_readable(result.plan), sort_keys=False, allow_unicode=True, width=88),
        tones=charts.TONES,
        dashes=charts.DASHES,
        shapes=charts.SHAPES,
        longest=LONGEST,
        is_estimate=lambda value: set(value) >= {"value", "low", "high", "method", "n"},
        as_shown=_as_shown,
        is_grid=_is_grid,
    )


def methods(value: Any) -> list[str]:
    """Every way in which an interval of this result was made, the commonest first."""
    found: Counter[str] = Counter()

    def walk(one: Any) -> None:
        if isinstance(one, Mapping):
            if "method" in one and one.get("value") is not None:
                found[str(one["method"])] += 1
            for inner in one.values():
                walk(inner)
        elif isinstance(one, (list, tuple)):
            for inner in one:
                walk(inner)

    walk(value)
    return sorted(found, key=lambda method: (-found[method], method))


def short_path(text: str) -> str:
    """The last part of an absolute path: the rest may name persons and machines, which are nobody's business."""
    if re.match(r"/.|[A-Za-z]:[\\/]|\\\\", text):
        return "…/" + re.split(r"[\\/]", text.rstrip("/"))[-1]
    return text


def _readable(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The plan in the order and the spelling in which people write plans."""
    known = ("name", "title", "seed", "preset", "device", "data", "model", "surrogates", "attacks", "budgets", "goals")
    ordered = {key: plan[key] for key in (*known, *plan) if key in plan}
    if isinstance(ordered.get("budgets"), (list, tuple)):
        ordered["budgets"] = [show_fraction(eps) for eps in ordered["budgets"]]
    return _shortened(ordered)


def _shortened(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _shortened(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shortened(inner) for inner in value]
    return short_path(value) if isinstance(value, str) else value


def _bound(text: str) -> str:
    """No line ends between a number and its unit."""
    return re.sub(r"(?<=\d) (?=%|dB\b|points\b)", "\u00a0", text)


def _is_grid(value: Mapping[str, Any]) -> bool:
    """Whether all rows have the same few columns of plain values: a small table says it best."""
    rows = [one for one in value.values() if isinstance(one, Mapping)]
    if len(rows) < 2 or len(rows) != len(value):
        return False
    flat = all(not isinstance(inner, (Mapping, list, tuple)) for row in rows for inner in row.values())
    return flat and 0 < len(rows[0]) <= 6 and all(row.keys() == rows[0].keys() for row in rows)


def _as_shown(value: Mapping[str, Any]) -> Shown:
    try:
        return show(Estimate.model_validate(dict(value)), "score")
    except ValidationError:
        return Shown(json.dumps(value, sort_keys=True), "", "")
