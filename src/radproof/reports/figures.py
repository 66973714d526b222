# SPDX-License-Identifier: Apache-2.0
"""What a report draws: accuracy against budget, smallest budgets, ROC curves and training."""

import math
from collections.abc import Sequence

from radproof.assess.detected import Detection
from radproof.assess.result import Cell, Result, Smallest
from radproof.core.records import Estimate
from radproof.reports.charts import (
    BOTTOM,
    LEFT,
    MOST,
    RIGHT,
    TOP,
    Chart,
    Mark,
    Point,
    Scale,
    Series,
    linear,
    marks,
    nice,
    number_ticks,
    percent_ticks,
    polyline,
    tidy,
)
from radproof.reports.reading import BARE, ENSEMBLE, WORST, Budget, Reading, still_right
from radproof.reports.words import sentence

ROC_POINTS = 60


def accuracy_charts(reading: Reading) -> list[Chart]:
    """Images still right against budget: the worst per image first, then attack by attack."""
    if not reading.budgets:
        return []
    names = (BARE, *_best_defenses(reading))
    charts = [_ladder_chart(reading, ENSEMBLE.capitalize(), {n: _headlines(reading, n) for n in names})]
    for attack in dict.fromkeys(attack for attack, _ in reading.attacks):
        lines = {name: _attack_cells(reading, name, attack) for name in names}
        charts.append(_ladder_chart(reading, attack, {name: cells for name, cells in lines.items() if cells}))
    return charts


def _best_defenses(reading: Reading) -> tuple[str, ...]:
    rung = reading.reference

    def right(name: str) -> float:
        estimate = still_right(reading.headline(name, reading.goal, rung.eps)) if rung else None
        return -1.0 if estimate is None or estimate.value is None else -estimate.value

    kept = sorted(reading.defenses, key=right)[: MOST - 1]
    return tuple(name for name in reading.defenses if name in kept)


def _headlines(reading: Reading, defense: str) -> list[Cell]:
    found = [reading.headline(defense, reading.goal, rung.eps) for rung in reading.budgets]
    return [cell for cell in found if cell is not None]


def _attack_cells(reading: Reading, defense: str, attack: str) -> list[Cell]:
    cells = reading.cells(defense, ["oblivious"], reading.goal)
    return [cell for cell in cells if cell.attack == attack and attack != WORST]


def _ladder_chart(reading: Reading, title: str, lines: dict[str, list[Cell]]) -> Chart:
    rungs = reading.budgets
    lowest, highest = math.log2(rungs[0].eps), math.log2(rungs[-1].eps)
    # Clean images stand one step to the left of the smallest budget, which a logarithm has no place for.
    x = linear(lowest - 1, highest, LEFT + 14, RIGHT - 14)
    y = linear(0, 1, BOTTOM, TOP)
    series: list[Series] = []
    for tone, (name, cells) in enumerate(lines.items()):
        dodge = 4 * (tone - (len(lines) - 1) / 2)
        clean = reading.clean(name)
        measured = [(lowest - 1, clean.scores.accuracy)] if clean else []
        measured += [(math.log2(cell.eps), right) for cell in cells if (right := still_right(cell))]
        points = marks(measured, lambda at, shift=dodge: x(at) + shift, y)
        series.append(Series(_line_name(name), tone, polyline([(m.x, m.y) for m in points]), points))
    unit, labels = budget_labels(rungs)
    at = (tidy(x(math.log2(rung.eps))) for rung in rungs)
    ticks = ((tidy(x(lowest - 1)), "clean"), *zip(at, labels, strict=True))
    last = [f"{_line_name(name)} {sentence(still_right(cells[-1]))}" for name, cells in lines.items() if cells]
    alt = f"{title}: images still right against budget. At {rungs[-1].label}: {'; '.join(last)}."
    return Chart(title, alt, unit, "still right", ticks, percent_ticks(y), tuple(series))


def budget_labels(rungs: Sequence[Budget]) -> tuple[str, list[str]]:
    """The axis' name and a label for each rung, without the /255 that all share."""
    labels = [rung.label for rung in rungs]
    if all(label.endswith("/255") for label in labels):
        return "budget, in 1/255", [label.removesuffix("/255") for label in labels]
    return "budget", labels


def _line_name(defense: str) -> str:
    return "no defence" if defense == BARE else defense


def smallest_chart(found: Smallest) -> Chart | None:
    """Share of images fooled at or under each budget, in float and as stored."""
    lines = {"as stored": found.stored_budgets, "in float": found.float_budgets}
    medians = {"as stored": found.median_stored, "in float": found.median_float}
    values = [value for budgets in lines.values() for value in budgets if value]
    if not values:
        return None
    lowest, highest = math.floor(math.log2(255 * min(values))), math.ceil(math.log2(255 * max(*values, found.most)))
    x = linear(lowest, max(highest, lowest + 1), LEFT + 6, RIGHT - 8)
    y = linear(0, 1, BOTTOM, TOP)
    series: list[Series] = []
    for tone, (name, budgets) in enumerate(lines.items()):
        at = sorted(x(math.log2(255 * value)) if value else float(LEFT) for value in budgets if value is not None)
        path = _steps(at, len(budgets), y)
        series.append(Series(name, tone, path, _median(medians[name], found.most, x, y)))
    step = max(1, math.ceil((highest - lowest) / 8))  # more labels would run into one another
    ticks = tuple((tidy(x(k)), _power(k)) for k in range(lowest, highest + 1, step))
    said = [f"median {name} {sentence(medians[name], 'budget', most=found.most)}" for name in lines]
    alt = f"Share of {found.images} images fooled by {found.attack} at or under each budget: {'; '.join(said)}."
    title = f"Smallest fooling budget, {found.attack}"
    return Chart(title, alt, "budget, in 1/255", "images fooled", ticks, percent_ticks(y), tuple(series))


def _steps(at: Sequence[float], images: int, y: Scale) -> str:
    path = f"M{LEFT} {tidy(y(0)):g}"
    for fooled, place in enumerate(at, 1):
        path += f"H{tidy(place):g}V{tidy(y(fooled / images)):g}"
    return f"{path}H{RIGHT}"


def _median(estimate: Estimate, most: float, x: Scale, y: Scale) -> tuple[Mark, ...]:
    # A search that ended at the largest budget tried has no median to point at.
    if not estimate.value or estimate.value >= most:
        return ()
    place, half = x(math.log2(255 * estimate.value)), tidy(y(0.5))
    return (Mark(tidy(place), half, half, half),)


def _power(exponent: int) -> str:
    return str(2**exponent) if exponent >= 0 else f"1/{2**-exponent}"


def roc_charts(reading: Reading) -> list[Chart]:
    """One chart for each detector; one line for each attack that fooled the model at the reference budget."""
    return [chart for found in reading.result.detection if (chart := _roc_chart(reading, found)) is not None]


def _roc_chart(reading: Reading, found: Detection) -> Chart | None:
    rung = reading.reference
    rows = [row for row in found.rows if row.roc and (rung is None or row.eps == rung.eps)]
    rows = [row for row in rows if row.positives == "successful"] or rows
    if not rows:
        return None
    hardest = sorted(rows, key=lambda row: 1.0 if row.auroc.value is None else row.auroc.value)[:MOST]
    rows = [row for row in rows if row in hardest]
    x, y = linear(0, 1, LEFT, RIGHT), linear(0, 1, BOTTOM, TOP)
    series = tuple(
        Series(row.attack, tone, polyline([(x(a), y(b)) for a, b in _thinned(row.roc)]))
        for tone, row in enumerate(rows)
    )
    promised = tidy(x(found.promised_rate))
    guides = (f"M{LEFT} {BOTTOM}L{RIGHT} {TOP}", f"M{promised:g} {BOTTOM}V{TOP}")
    said = [f"{row.attack} AUROC {sentence(row.auroc, 'score')}" for row in rows]
    alt = f"ROC of detector {found.detector} at {rung.label if rung else ''}: {'; '.join(said)}."
    ticks = tuple((tidy(x(share)), f"{100 * share:.0f} %") for share in (0, 0.25, 0.5, 0.75, 1))
    title = f"ROC, {found.detector}"
    return Chart(title, alt, "false alarms on clean images", "flagged", ticks, percent_ticks(y), series, guides)


def _thinned(points: Sequence[Point]) -> list[Point]:
    if len(points) <= ROC_POINTS:
        return list(points)
    chosen = {round(i * (len(points) - 1) / (ROC_POINTS - 1)) for i in range(ROC_POINTS)}
    return [points[i] for i in sorted(chosen)]


def training_charts(result: Result) -> list[Chart]:
    """Loss, and shares right, epoch by epoch."""
    history = (result.training or {}).get("history") or []
    if len(history) < 2:
        return []
    groups = {
        "Loss": {
            "training": "train_loss",
            "validation": "validation_loss",
            "attacked validation": "validation_robust_loss",
        },
        "Right answers and AUROC": {
            "training accuracy": "train_accuracy",
            "validation accuracy": "validation_accuracy",
            "validation AUROC": "validation_auroc",
            "attacked validation accuracy": "validation_robust_accuracy",
        },
    }
    stages = [epoch.get("stage") for epoch in history]
    x = linear(0, len(history) - 1, LEFT + 6, RIGHT - 8)
    turns = [i for i in range(1, len(stages)) if stages[i] != stages[i - 1]]
    guides = tuple(f"M{tidy(x(i - 0.5)):g} {BOTTOM}V{TOP}" for i in turns)
    step = max(1, math.ceil(len(history) / 6))
    ticks = tuple((tidy(x(i)), str(i + 1)) for i in range(0, len(history), step))
    charts: list[Chart] = []
    for title, lines in groups.items():
        curves = {name: [epoch.get(key) for epoch in history] for name, key in lines.items()}
        curves = {name: curve for name, curve in curves.items() if any(value is not None for value in curve)}
        known = [value for curve in curves.values() for value in curve if value is not None]
        if known:
            top = 1.0 if title != "Loss" else nice(max(known))
            y = linear(0, top, BOTTOM, TOP)
            y_ticks = percent_ticks(y) if title != "Loss" else number_ticks(top, y)
            series = tuple(
                Series(name, tone, polyline([(x(i), y(v)) for i, v in enumerate(curve) if v is not None]))
                for tone, (name, curve) in enumerate(curves.items())
            )
            last = [f"{name} {curve[-1]:.2f}" for name, curve in curves.items() if curve[-1] is not None]
            alt = f"{title} over {len(history)} epochs; in the last epoch {', '.join(last)}."
            charts.append(Chart(title, alt, "epoch", title.split()[0].lower(), ticks, y_ticks, series, guides))
    return charts
