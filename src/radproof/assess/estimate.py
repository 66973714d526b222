# SPDX-License-Identifier: Apache-2.0
"""What a run will cost, said before it starts: counted passes times a measured one."""

import time
from collections.abc import Sequence

import torch

from radproof.assess.craft import attacked_model, passes_per_call
from radproof.assess.jobs import Job, gradients
from radproof.assess.material import Material
from radproof.attacks.metered import Metered, Precision
from radproof.attacks.objective import Objective
from radproof.core.goals import goal as make_goal
from radproof.errors import NoGradient

VIEWS = 8  # passes with a gradient for each that an attack takes which also climbs a detector


def estimate_cost(material: Material, jobs: Sequence[tuple[Job, int]], precision: Precision) -> str:
    """'27,600 gradients and 6,200 further passes for 60 images: about 3 minutes', each way timed on one micro-batch.

    `jobs` come with the number of images that each has still to make.
    """
    backwards = forwards = seconds = 0.0
    timed: dict[tuple[str, str, bool], float] = {}
    for job, images in jobs:
        forward, backward = gradients(job, material.parts)
        if not forward:
            continue
        way = (job.on, job.backward, backward > 0)
        if way not in timed:
            timed[way] = _seconds_per_pass(material, job, precision, gradient=backward > 0)
        further = max(forward - backward, 0.0)
        draws = passes_per_call(material, job)
        backwards, forwards = backwards + draws * backward * images, forwards + draws * further * images
        # A forward pass is a third of a gradient; through a defence most of it is the defence.
        bare = job.role != "defense" or material.contenders[job.on].defense is None
        share = 1 / 3 if bare and backward else 1.0
        views = VIEWS if job.role == "detector" else 1
        seconds += timed[way] * (backward + share * further) * images * views
    return (
        f"{backwards:,.0f} gradients and {forwards:,.0f} further passes for {len(material.test)} images: about "
        f"{_duration(seconds)} on {material.device.type}, {torch.get_num_threads()} threads"
    )


def _seconds_per_pass(material: Material, job: Job, precision: Precision, *, gradient: bool) -> float:
    """Per image, from the second of two passes over one micro-batch, through the model that the job attacks."""
    rows = list(material.batches[0])[: attacked_model(material, job).micro_batch]
    x = material.images(rows)
    goal = make_goal("misclassify", material.y[rows], material.manifest.labels, material.manifest.head)
    objective = Objective(Metered(attacked_model(material, job), micro_batch=len(rows), precision=precision), goal)
    once = objective.gradient if gradient else objective.loss
    try:
        once(x)
    except NoGradient:
        return 0.0
    began = time.perf_counter()
    once(x)
    return (time.perf_counter() - began) / len(rows)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
