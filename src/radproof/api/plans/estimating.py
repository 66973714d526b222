# SPDX-License-Identifier: Apache-2.0
"""What a plan would cost on this server, told before anything runs: counted passes, and minutes where one was timed."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from radproof.api.people.access import Caller
from radproof.api.plans.planning import Checked, checked
from radproof.api.service import Service

if TYPE_CHECKING:
    from radproof.assess.jobs import Job

TEST_SHARE = 0.2  # of a data set that is split here
VIEWS = 8  # passes for each that an attack takes which also climbs a detector
APART = 2.0  # the interval's ends: half of the figure and twice of it
PNG_SHARE = 0.85  # of the bytes of a radiograph's pixels that are left in the file


class Between(BaseModel):
    """A figure that is estimated, with its interval."""

    value: float
    low: float
    high: float


class CostLine(BaseModel):
    """One attack at one budget, for one goal, on one network."""

    attack: str
    goal: str
    budget: str
    made_on: str
    gradients: float  # per image
    forwards: float  # per image, beside those of the gradients
    images: int


class Cost(BaseModel):
    """What a plan would cost."""

    images: int
    exact: bool  # whether the number of images is known, not guessed
    gradients_per_image: float
    forwards_per_image: float
    gradients: float
    forwards: float
    seconds_per_gradient: float | None  # of this model on this server; None: it was not timed
    minutes: Between | None  # None: unknown
    megabytes: Between | None
    note: str  # what these figures rest on
    lines: list[CostLine]


def estimated(service: Service, who: Caller, document: Mapping[str, Any], project: str | None = None) -> Cost:
    """The cost of a plan. Raises Problem 422 for one that cannot be run."""
    return cost_of(checked(service, who, document, project))


def cost_of(found: Checked) -> Cost:
    """The same for a plan that was checked."""
    from radproof.assess.jobs import gradients, list_jobs
    from radproof.assess.outline import trainings
    from radproof.assess.plan_checks import check_parts
    from radproof.assess.stands import stands as standing

    plan = found.plan
    parts = check_parts(plan)
    stands = dict(standing(plan, parts))
    jobs = list_jobs(plan, parts, stands)
    images, exact = _images(found)
    targets = 1 + sum(one.of is None for one in plan.surrogates.values()) if plan.surrogates else 0
    judged = targets + sum(1 + stand.votes for stand in stands.values()) + 7 * bool(parts.detectors)
    lines: list[CostLine] = []
    scoring = 0.0
    for job in jobs:
        forwards, backwards = gradients(job, parts)
        scoring += 1 + judged + (5 if plan.survival and job.on == "model" else 0)
        if job.kind != "attack":
            continue
        stand = stands.get(job.on) if job.role == "defense" else None
        draws = plan.eot if stand and stand.random else 1
        times = VIEWS if job.role == "detector" else 1
        most = plan.detection.aware_images if job.role == "detector" else None
        lines.append(
            _line(
                job,
                draws * backwards * times,
                draws * max(forwards - backwards, 0) * times,
                min(images, most or images),
            )
        )
    searched = plan.searched
    least = searched.steps * searched.rounds * min(searched.images or images, images) if searched else 0
    whole = sum(line.gradients * line.images for line in lines) + least
    further = sum(line.forwards * line.images for line in lines) + scoring * images
    further += 7 * (plan.detection.images + plan.detection.calibration) * bool(parts.detectors)
    lessons = sum(stage.passes for stage in trainings(plan, *_taught(found, images), Path(os.devnull)))
    return _told(found, lines, images, exact, whole, further + lessons, len(jobs), trained=lessons > 0)


def _told(
    found: Checked,
    lines: list[CostLine],
    images: int,
    exact: bool,
    whole: float,
    further: float,
    jobs: int,
    *,
    trained: bool,
) -> Cost:
    each = _seconds(found.model.facts)
    minutes = _between((whole + further / 3) * each / 60) if each else None
    side = _pixels(found)
    disk = _between(jobs * images * side * PNG_SHARE / 1e6) if side else None
    said = [
        "a gradient was timed on this server when the model was opened"
        if each
        else "no gradient of this model was timed yet, so minutes are unknown"
    ]
    if not exact:
        said.append("the number of test images is a guess: a fifth of the data")
    if trained:
        said.append("the training of other networks is counted to its last epoch, and may end earlier")
    if found.plan.surrogates or found.plan.hardened:
        said.append("other networks are taken to be as fast as the model")
    return Cost(
        images=images,
        exact=exact,
        gradients_per_image=round(whole / images, 1) if images else 0,
        forwards_per_image=round(further / images, 1) if images else 0,
        gradients=round(whole),
        forwards=round(further),
        seconds_per_gradient=each,
        minutes=minutes,
        megabytes=disk,
        note="; ".join(said) + ". Intervals run from half to twice the figure.",
        lines=lines,
    )


def _line(job: "Job", backwards: float, further: float, images: int) -> CostLine:
    return CostLine(
        attack=job.label,
        goal=job.goal,
        budget=job.budget,
        made_on=job.made_on,
        gradients=backwards,
        forwards=further,
        images=images,
    )


def _between(value: float) -> Between:
    digits = 1 if value < 100 else 0
    return Between(value=round(value, digits), low=round(value / APART, digits), high=round(value * APART, digits))


def _seconds(facts: Mapping[str, Any]) -> float | None:
    timed = facts.get("seconds")
    value = cast("dict[str, Any]", timed).get("gradient") if isinstance(timed, dict) else None
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _images(found: Checked) -> tuple[int, bool]:
    """How many are assessed, and whether that is known."""
    wanted = found.plan.data.images
    if found.data is None:
        there, exact = round((found.plan.data.count or 600) * TEST_SHARE), wanted is not None
    else:
        folds = found.data.facts.get("folds")
        told = cast("dict[str, Any]", folds).get(found.plan.data.fold) if isinstance(folds, dict) else None
        counted = _counted(told)
        total = found.data.facts.get("images")
        exact = isinstance(counted, int) and counted > 0
        there = (
            counted
            if isinstance(counted, int) and counted
            else round(TEST_SHARE * total)
            if isinstance(total, int)
            else 0
        )
    if not there:
        return wanted or 100, False
    return max(1, min(wanted or there, there)), exact


def _taught(found: Checked, images: int) -> tuple[int, int]:
    """Images of the training and the validation fold; three fifths and one of a data set that is split here."""
    folds = found.data.facts.get("folds") if found.data else None
    if isinstance(folds, dict):
        told = cast("dict[str, Any]", folds)
        train, validation = (_counted(told.get(name)) for name in ("train", "validation"))
        if train and validation:
            return train, validation
    total = found.data.facts.get("images") if found.data else found.plan.data.count or 600
    count = total if isinstance(total, int) and total else round(images / TEST_SHARE)
    return round(3 * TEST_SHARE * count), round(TEST_SHARE * count)


def _counted(fold: Any) -> int | None:
    """Images of a fold, told as their number or by class."""
    if not isinstance(fold, dict):
        return fold if isinstance(fold, int) else None
    told = cast("dict[str, Any]", fold)
    if isinstance(images := told.get("images"), int):
        return images
    return sum(value for value in told.values() if isinstance(value, int)) or None


def _pixels(found: Checked) -> float | None:
    """Of one image."""
    size = found.plan.data.size
    if found.data is None:
        return float((size or 256) ** 2)
    if size:
        return float(size**2)
    return None
