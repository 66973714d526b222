# SPDX-License-Identifier: Apache-2.0
"""Images for detectors that are also trained with attacks: to learn from, and to set their thresholds on."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from radproof.assess.craft import as_read_back, learned
from radproof.assess.jobs import Job
from radproof.assess.material import Material, batch_generator
from radproof.assess.parts import Settled
from radproof.assess.sections import LearnedPlan
from radproof.assess.watching import one_of_each
from radproof.attacks.learned import Learner
from radproof.attacks.metered import Metered
from radproof.core.depth import Depth
from radproof.core.goals import goal as make_goal
from radproof.core.types import Attack
from radproof.data.load import grids
from radproof.data.manifest import Manifest
from radproof.data.subsets import take
from radproof.detectors.benign import Handling, benign
from radproof.detectors.calibrate import CLEAN
from radproof.errors import NoGradient

HARMLESS = "harmless"  # clean images to learn from, each after one change
CALIBRATION = "calibration-"  # and the change, or "clean"
CHANGED = 60  # calibration images where each is also measured after every harmless change

Make = Callable[[Tensor, Tensor, int], Tensor]  # images, their targets, the batch's number


@dataclass(frozen=True)
class Lesson:
    """Images to measure, and what to make of them first."""

    images: Manifest
    make: Make


def lessons(material: Material, plan: LearnedPlan) -> dict[str, Lesson]:
    """By name: "clean", "harmless", "calibration-" and a change, and the label of each attack."""
    taught, calibration = _halves(material.manifest.fold("validation"))
    seed = material.plan.seed
    some = take(taught, min(plan.images, len(taught)), seed=seed)
    depth = min(grid[-1] for grid in grids(some.samples, some.root))
    changes = benign(depth) if material.plan.detection.benign else ()
    calibration = take(one_of_each(calibration, seed), _enough(material, changes), seed=seed)
    found = {CLEAN: Lesson(some, _plain)}
    if changes:
        found[HARMLESS] = Lesson(some, _turns(changes, depth, material.plan.batch))
    found[CALIBRATION + CLEAN] = Lesson(calibration, _plain)
    for change in changes:
        found[CALIBRATION + change.name] = Lesson(calibration, _turns((change,), depth, material.plan.batch))
    for label, part in material.parts.learned.items():
        found[label] = Lesson(some, _crafted(material, part, plan.eps, depth))
    return found


def in_turns(x: Tensor, changes: Sequence[Handling], depth: Depth, first: int) -> Tensor:
    """Each image after one change, the next image after the next; the first is number `first` of its set."""
    made = x.clone()
    for turn, change in enumerate(changes):
        rows = slice((turn - first) % len(changes), None, len(changes))
        if len(x[rows]):
            made[rows] = change.apply(x[rows], depth)
    return made


def _halves(validation: Manifest) -> tuple[Manifest, Manifest]:
    """Two halves of the patients: to learn from, and to set thresholds on."""
    half = set(sorted({sample.patient or sample.id for sample in validation.samples})[::2])
    first, second = (
        validation.only(s for s in validation.samples if ((s.patient or s.id) in half) is own) for own in (True, False)
    )
    return first, second


def _enough(material: Material, changes: Sequence[Handling]) -> int:
    """Calibration images: fewer where each costs passes for every change, but as many as the promise asks for."""
    most = material.plan.detection.calibration
    return min(most, max(CHANGED, math.ceil(1 / material.plan.false_positive_rate))) if changes else most


def _plain(x: Tensor, y: Tensor, number: int) -> Tensor:
    return x


def _turns(changes: Sequence[Handling], depth: Depth, batch: int) -> Make:
    return lambda x, y, number: in_turns(x, changes, depth, number * batch)


def _crafted(material: Material, part: Settled[Attack], eps: float, depth: Depth) -> Make:
    job = Job("attack", part.label, part.params, "misclassify", eps, threat=part.recipe.threat)
    if "eps" not in part.params:  # it is bounded by limits of its own
        job = replace(job, eps=0.0)

    def make(x: Tensor, y: Tensor, number: int) -> Tensor:
        micro_batch = material.model.micro_batch
        while True:
            try:
                return as_read_back(_attacked(material, job, part, micro_batch, x, y, number), x, job, depth)
            except (torch.OutOfMemoryError, MemoryError):
                if micro_batch == 1:
                    raise
                micro_batch //= 2

    return make


def _attacked(
    material: Material, job: Job, part: Settled[Attack], micro_batch: int, x: Tensor, y: Tensor, number: int
) -> Tensor:
    needs = part.recipe.needs
    bound = material.aids.bindings(needs, [0])
    bound |= {argument: None for argument, what in needs.items() if what == "anatomy"}  # known of test images alone
    attack = part.make(eps=job.eps, **bound)
    goal = make_goal(job.goal, y, material.manifest.labels, material.manifest.head)
    meter = Metered(material.model, micro_batch=micro_batch)
    try:
        if isinstance(attack, Learner):
            attack = learned(material, job, attack, meter.model, meter.precision)
        return attack(meter, x, goal, rng=batch_generator(material, "learned", *job.identity(), number))
    except NoGradient:
        return x.clone()  # there is nothing to climb; the probes find it, and it becomes a doubt
