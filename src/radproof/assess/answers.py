# SPDX-License-Identifier: Apache-2.0
"""From finished batches to per-image answers: one set per job and scorer, and the worst of many."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from radproof.assess.jobs import Job, Role
from radproof.assess.material import Material
from radproof.assess.result import Column
from radproof.assess.workspace import Workspace
from radproof.core.goals import goal as make_goal
from radproof.core.types import Head
from radproof.measure.calibration import probabilities
from radproof.measure.classification import answers

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
NORMS = ("linf", "l2")  # the first that a plan has is what the headline is about
MEASURES = ("linf", "l2", "ssim", "psnr")


@dataclass(frozen=True)
class Answered:
    """How one scorer answered one job's images; every array is per image, in the order of `rows`."""

    job: Job
    defense: str  # "none" or the defence that scored
    column: Column
    rows: NDArray[np.int64]
    logits: Floats
    right: Bools
    confidence: Floats  # in the truth
    clean_right: Bools
    clean_confidence: Floats
    reached: Bools  # the goal, as stored
    reached_float: Bools | None = None
    measures: dict[str, Floats] = field(default_factory=dict[str, Floats])
    scores: dict[str, Floats] = field(default_factory=dict[str, Floats])  # detector -> suspicion
    measured: dict[str, Floats] = field(default_factory=dict[str, Floats])  # detector -> (n, F) what it measured
    harmless: dict[str, Floats] = field(default_factory=dict[str, Floats])  # change -> logits; change:detector -> score
    paired: Bools | None = None  # (n, 2) flagged with and without the label rule
    files: tuple[str, ...] = ()
    sha256: tuple[str, ...] = ()
    batch: tuple[int, ...] = ()
    forwards: float = 0.0  # per image
    backwards: float = 0.0
    seconds: float = 0.0
    halvings: int = 0  # how often memory ran out, at most
    peak: float | None = None  # MiB that a batch added, at most
    targets: dict[str, Floats] = field(default_factory=dict[str, Floats])  # network -> its logits
    treated: dict[str, Floats] = field(default_factory=dict[str, Floats])  # handling -> the model's logits


def collect(space: Workspace, material: Material, jobs: Sequence[Job]) -> list[Answered]:
    """Everything that was answered; clean images first, since all else is compared with them."""
    found: list[Answered] = []
    clean: dict[str, Answered] = {}
    for job in jobs:
        stored = [space.load(job.key, batch) for batch in range(len(material.batches))]
        stored = [arrays for arrays in stored if len(arrays["rows"])]
        if not stored:
            continue
        for defense in (name.removeprefix("logits:") for name in stored[0] if name.startswith("logits:")):
            answered = _answered(material, job, defense, stored, clean.get(defense))
            found.append(answered)
            if job.kind == "clean":
                clean[defense] = answered
    return found


def _answered(
    material: Material, job: Job, defense: str, stored: list[dict[str, Any]], clean: Answered | None
) -> Answered:
    joined = {name: np.concatenate([np.atleast_1d(a[name]) for a in stored]) for name in stored[0] if name != "cost"}
    order = np.argsort(joined["rows"], kind="stable")
    rows = joined["rows"][order]
    logits = joined[f"logits:{defense}"][order].astype(np.float64)
    head = material.manifest.head
    y = material.y.cpu().numpy()[rows]
    right, confidence = rightness(logits, y, head)
    finding = job.goal.partition(":")[2] if job.goal.startswith("flip:") else None
    at = {int(row): place for place, row in enumerate(clean.rows)} if clean else {}
    before = [at[int(row)] for row in rows] if clean else []
    clean_right = clean.right[before] if clean else right
    if finding is not None and clean:
        # A goal about one finding is judged by that finding alone.
        k = material.manifest.labels.index(finding)
        right, clean_right = ((z[:, k] > 0) == (y[:, k] > 0.5) for z in (logits, clean.logits[before]))
    images = len(rows)
    costs = np.stack([a["cost"] for a in stored])
    forwards, backwards, seconds = costs[:, :3].sum(axis=0) / images
    model_only = defense == "none" and job.on == "model"
    watched = defense == "none" and job.role in ("model", "detector")
    return Answered(
        job=job,
        defense=defense,
        column=column_of(job),
        rows=rows,
        logits=logits,
        right=right,
        confidence=confidence,
        clean_right=clean_right,
        clean_confidence=clean.confidence[before] if clean else confidence,
        reached=_reached(material, job, logits, rows) if job.goal else ~right,
        # Made on one model, so told of that one alone.
        reached_float=joined["reached_float"][order] if _is_own(job, defense) and "reached_float" in joined else None,
        measures=_measures(joined, job, defense, order),
        scores=_named(joined, "score:", order) if watched else {},
        measured=_named(joined, "measured:", order) if watched else {},
        harmless=_named(joined, "harmless:", order) if watched else {},
        paired=joined["paired"][order] if "paired" in joined and model_only else None,
        files=tuple(joined["files"][order].tolist()),
        sha256=tuple(joined["sha256"][order].tolist()),
        batch=tuple(np.repeat([int(a["batch"]) for a in stored], [len(a["rows"]) for a in stored])[order].tolist()),
        forwards=float(forwards),
        backwards=float(backwards),
        seconds=float(seconds),
        halvings=int(costs[:, 4].max()),
        peak=None if np.isnan(costs[:, 5]).all() else float(np.nanmax(costs[:, 5])),
        targets=_named(joined, "target:", order) if defense == "none" else {},
        treated=_named(joined, "treated:", order) if model_only else {},
    )


def _measures(joined: Mapping[str, Any], job: Job, defense: str, order: NDArray[np.intp]) -> dict[str, Floats]:
    """How an image differs from its original; of clean images, what the defence made of them."""
    prefix = f"quality:{defense}:" if job.kind == "clean" else ""
    return {name: joined[prefix + name][order] for name in MEASURES if prefix + name in joined}


def _named(joined: Mapping[str, Any], prefix: str, order: NDArray[np.intp]) -> dict[str, Floats]:
    return {name.removeprefix(prefix): joined[name][order] for name in joined if name.startswith(prefix)}


def column_of(job: Job) -> Column:
    """Which column of the report a job belongs to."""
    if job.kind != "attack":
        return "clean" if job.kind == "clean" else "corruption"
    columns: dict[Role, Column] = {
        "model": "oblivious",
        "surrogate": "transfer",
        "defense": "adaptive",
        "detector": "aware",
    }
    return columns[job.role]


def _is_own(job: Job, defense: str) -> bool:
    return (defense == "none" and job.role in ("model", "detector")) or job.on == defense


def rightness(logits: Floats, y: NDArray[Any], head: Head) -> tuple[Bools, Floats]:
    """(right (N,), confidence in the truth (N,)); a multi-label answer is right when every finding is."""
    p = probabilities(logits, head)
    if head == "softmax":
        return answers(logits, head) == y, p[np.arange(len(y)), y]
    agree: Bools = answers(logits, head) == (y > 0.5)
    return np.all(agree, axis=1), np.where(y > 0.5, p, 1 - p).mean(axis=1)


def _reached(material: Material, job: Job, logits: Floats, rows: NDArray[np.int64]) -> Bools:
    y = material.y.cpu()[torch.as_tensor(rows)]
    goal = make_goal(job.goal, y, material.manifest.labels, material.manifest.head)
    return goal.reached(torch.as_tensor(logits)).numpy()


def worst(group: Sequence[Answered], *, column: Column, key: str) -> Answered:
    """Per image the answer of the attack that did most harm: one that reached its goal, at the least confidence."""
    first = group[0]
    reached = np.stack([a.reached for a in group])
    confidence = np.stack([a.confidence for a in group])
    wrong = ~np.stack([a.right for a in group])
    pick = np.argmin(confidence - 4.0 * reached - 2.0 * wrong, axis=0)
    images = np.arange(len(first.rows))
    of = {"of": sorted({a.job.label for a in group})}
    job = Job("attack", "worst", of, first.job.goal, first.job.eps, key, threat=first.job.threat)
    return Answered(
        job=job,
        defense=first.defense,
        column=column,
        rows=first.rows,
        logits=np.stack([a.logits for a in group])[pick, images],
        right=np.array(np.all([a.right for a in group], axis=0)),
        confidence=confidence[pick, images],
        clean_right=first.clean_right,
        clean_confidence=first.clean_confidence,
        reached=np.array(np.any(reached, axis=0)),
        forwards=sum(a.forwards for a in group),
        backwards=sum(a.backwards for a in group),
        seconds=sum(a.seconds for a in group),
    )


def worst_groups(found: Iterable[Answered]) -> list[Answered]:
    """The worst per image of every column, and the headline over all columns, per goal, budget and scorer.

    Equal budgets of different norms are different threats: L-infinity attacks are taken together, L2 attacks only in
    a plan without them, and threats that no norm bounds never.
    """
    made = [a for a in found if a.job.kind == "attack"]
    threat = next((norm for norm in NORMS if any(a.job.threat == norm for a in made)), None)
    groups: dict[tuple[str, float, str, Column], list[Answered]] = {}
    for a in made:
        if a.job.threat == threat:
            for column in (a.column, "headline"):
                groups.setdefault((a.job.goal, a.job.eps, a.defense, column), []).append(a)
    return [worst(group, column=key[3], key=f"{key[3]}:{key[2]}") for key, group in groups.items()]
