# SPDX-License-Identifier: Apache-2.0
"""The report as one page that needs nothing else: no network, no script, no file beside it."""

from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from radproof.assess.finished import read_result
from radproof.assess.result import Result
from radproof.core.files import write_text
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
    facts,
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
from radproof.reports.words import plain, seconds, show

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
    environment.filters.update(bound=facts.bound, plain=plain, seconds=seconds, short_path=facts.short_path)
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
        methods=facts.methods(result.model_dump(mode="json")),
        training={key: value for key, value in (result.training or {}).items() if key != "history"},
        plan=facts.plan_text(result.plan),
        tones=charts.TONES,
        dashes=charts.DASHES,
        shapes=charts.SHAPES,
        longest=LONGEST,
        is_estimate=facts.is_estimate,
        as_shown=facts.as_shown,
        is_grid=facts.is_grid,
    )
