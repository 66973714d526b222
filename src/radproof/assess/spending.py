# SPDX-License-Identifier: Apache-2.0
"""Success against gradients spent: the plan's attacks again, each scaled to the same bill."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from radproof.assess.answers import rightness
from radproof.assess.craft import as_read_back, in_scope
from radproof.assess.jobs import Job
from radproof.assess.material import Material, batch_generator
from radproof.assess.result import Spending, Spent
from radproof.assess.scoring import predict
from radproof.assess.summary import Measurer
from radproof.assess.workspace import Arrays, Workspace
from radproof.attacks.cost import at_cost
from radproof.attacks.metered import Metered, Precision
from radproof.core.goals import goal as make_goal
from radproof.core.params import show_fraction
from radproof.core.progress import Progress
from radproof.core.whole import Piece, Stage
from radproof.errors import NoGradient


@dataclass(frozen=True)
class Level:
    """One attack at one bill, made on one network."""

    label: str
    most: int
    params: dict[str, Any]
    job: Job

    @property
    def key(self) -> str:
        """Where its batches are kept."""
        return f"spent_{self.job.key}"


def run_spending(material: Material, space: Workspace, precision: Precision, progress: Progress) -> None:
    """Make and score every level; finished batches are not done again."""
    levels, batches = list(_levels(material)), _batches(material)
    todo = [(level, batch) for level in levels for batch in batches if not space.has(level.key, batch)]
    progress.start("spending", sum(_cost(material, level, batch) for level, batch in todo))
    for level, batch in todo:
        space.save(level.key, batch, _run(material, level, batch, precision))
        progress.advance("spending", _cost(material, level, batch))


def outline(material: Material, space: Workspace) -> Stage:
    """The same work, counted."""
    pieces: dict[str, list[float]] = {}
    for level in _levels(material):
        counts = pieces.setdefault(f"spending on {level.job.on}"[:100], [0.0, 0.0])
        for batch in _batches(material):
            counts[space.has(level.key, batch)] += _cost(material, level, batch)
    return Stage("spending", tuple(Piece(kind, *counts) for kind, counts in pieces.items()))


def _cost(material: Material, level: Level, batch: int) -> float:
    """Passes: a gradient is about three."""
    return 3.0 * level.most * len(material.batches[batch])


def spending(material: Material, space: Workspace, measurer: Measurer) -> Spending | None:
    """The points of the curves."""
    wanted = material.plan.spending
    if wanted is None:
        return None
    points = [_point(material, level, space, measurer) for level in _levels(material)]
    rows = [row for batch in _batches(material) for row in in_scope(material, _job(material), material.batches[batch])]
    budget = show_fraction(wanted.budget)
    return Spending(goal=_job(material).goal, eps=wanted.budget, budget=budget, images=len(rows), points=tuple(points))


def _levels(material: Material) -> Iterator[Level]:
    """Attacks within an L-infinity budget and with a known bill; one that buys no more than a smaller is left out."""
    wanted = material.plan.spending
    if wanted is None:
        return
    for on in wanted.made_on:
        for label, part in material.parts.attacks.items():
            if part.recipe.threat != "linf" or part.recipe.cost is None:
                continue
            seen: list[dict[str, Any]] = []
            for most in sorted(set(wanted.gradients)):
                params = at_cost(part.recipe.name, part.params, most)
                if params is not None and params not in seen:
                    seen.append(params)
                    turned = {key: value for key, value in params.items() if value != part.params[key]}
                    yield Level(label, most, turned, _job(material, label, params, on))


def _job(material: Material, label: str = "", params: dict[str, Any] | None = None, on: str = "model") -> Job:
    wanted = material.plan.spending
    assert wanted is not None
    goal = "misclassify" if "misclassify" in material.plan.goals else material.plan.goals[0]
    chosen = {key: value for key, value in (params or {}).items() if key != "eps"}
    role = "model" if on == "model" else "surrogate"
    return Job("attack", label, chosen, goal, wanted.budget, on, threat="linf", role=role)


def _batches(material: Material) -> range:
    wanted = material.plan.spending
    return material.first_batches(wanted.images if wanted else None)


def _run(material: Material, level: Level, batch: int, precision: Precision) -> Arrays:
    job = level.job
    rows = in_scope(material, job, material.batches[batch])
    if not rows:
        return {"rows": np.zeros(0, np.int64)}
    part = material.parts.attacks[level.label]
    x = material.images(rows)
    network = material.model if job.on == "model" else material.surrogates[job.on].classifier
    meter = Metered(network, precision=precision)
    scaled = replace(part, params={**part.params, **level.params})
    attack = scaled.make(eps=job.eps, **material.aids.bindings(part.recipe.needs, rows))
    goal = make_goal(job.goal, material.y[rows], material.manifest.labels, material.manifest.head)
    try:
        made = attack(meter, x, goal, rng=batch_generator(material, "spending", *job.identity(), batch))
    except NoGradient:
        made = x
    stored = as_read_back(made, x, job, material.depths[rows[0]])
    return {
        "rows": np.array(rows, np.int64),
        "clean": predict(material.model, x).numpy(),
        "logits": predict(material.model, stored).numpy(),
        "cost": np.array([meter.forwards, meter.backwards]),
    }


def _point(material: Material, level: Level, space: Workspace, measurer: Measurer) -> Spent:
    stored = [arrays for arrays in (space.load(level.key, b) for b in _batches(material)) if len(arrays["rows"])]
    rows = np.concatenate([a["rows"] for a in stored])
    logits, clean = (np.concatenate([a[name] for a in stored]).astype(np.float64) for name in ("logits", "clean"))
    forwards, backwards = np.sum([a["cost"] for a in stored], axis=0) / len(rows)
    truth = measurer.truth(rows)
    labels, head = material.manifest.labels, material.manifest.head
    goal = make_goal(level.job.goal, torch.as_tensor(truth), labels, head)
    reached = goal.reached(torch.as_tensor(logits)).numpy()
    return Spent(
        attack=level.label,
        made_on=level.job.on,
        params=level.params,
        forwards=float(forwards),
        backwards=float(backwards),
        success=measurer.resampler(rows).mean(reached, rightness(clean, truth, head)[0]),
    )
