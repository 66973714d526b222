# SPDX-License-Identifier: Apache-2.0
"""What the sections of a result's page are made of: the report's own tables, charts and words."""

from typing import Any

from radproof.api.results.showing import Showing
from radproof.reports import (
    cards,
    certified,
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
from radproof.reports.transfer import transfers
from radproof.reports.words import show


def head(shown: Showing) -> dict[str, Any]:
    """Verdict, key figures, doubts and score."""
    reading = shown.reading
    return {
        "cards": cards.cards(reading),
        "score_tables": score.score_tables(reading),
        "score_words": score.score_words(reading),
    }


def rest(shown: Showing) -> dict[str, Any]:
    """Everything below the figures that a reader chooses."""
    result, reading = shown.result, shown.reading
    smallest = result.smallest
    return {
        "story": cards.story(reading),
        "methods": facts.methods(result.model_dump(mode="json")),
        "rows": summary.summary_rows(reading),
        "attack_tables": tables.attack_tables(reading),
        "defense_tables": tables.defense_tables(reading),
        "contender_tables": contenders.contender_tables(reading),
        "contender_words": contenders.contender_words(reading),
        "contender_figure": contenders.contender_figure(reading),
        "threat_tables": threats.threat_tables(reading),
        "transfers": transfers(result.transfer),
        "survival_tables": survival.survival_tables(reading),
        "survival_words": survival.survival_words(reading),
        "spending": spending.spending_figure(reading),
        "spending_table": spending.spending_table(reading),
        "certified_chart": certified.certified_chart(result.certified),
        "certified_table": certified.certified_table(result.certified),
        "certified_words": certified.certified_words(result.certified),
        "cost_table": costs.cost_table(reading),
        "detection": detection,
        "detection_words": detection_words.detection_words(reading),
        "detection_grids": detection_views.detection_grids(reading),
        "side_grids": detection_views.side_grids(reading),
        "detection_charts": detection_views.detection_charts(reading),
        "benign_grid": detection_views.benign_grid(reading),
        "corruption_grids": corruption.corruption_grids(reading),
        "corruption_words": corruption.corruption_words(reading),
        "standards": standards.standards_section(reading, shown.folder),
        "evidence": evidence,
        "checks": checks,
        "figures": figures,
        "smallest_stored": show(smallest.median_stored, "budget", most=smallest.most) if smallest else None,
        "smallest_float": show(smallest.median_float, "budget", most=smallest.most) if smallest else None,
        "smallest_chart": figures.smallest_chart(smallest) if smallest else None,
        "training": {key: value for key, value in (result.training or {}).items() if key != "history"},
        "plan": facts.plan_text(result.plan),
    }
