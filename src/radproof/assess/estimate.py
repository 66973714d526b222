# SPDX-License-Identifier: Apache-2.0
"""What a run will cost, said before it starts: counted passes times a measured one."""

import time
from collections.abc import Sequence

import torch

from radproof.assess.jobs import Job, gradients
from radproof.assess.material import Material
from radproof.attacks.metered import Metered, Precision
from radproof.attacks.objective import Objective
from radproof.core.goals import goal as make_goal


def estimate_cost(material: Material, jobs: Sequence[Job], precision: Precision) -> str:
    """'27,600 gradients and 6,200 further passes for 60 images: about 3 minutes', timed on one micro-batch."""
    n = len(material.test)
    passes = [gradients(job, material.parts) for job in jobs]
    backwards = sum(backward for _, backward in passes) * n
    forwards = sum(max(forward - backward, 0) for forward, backward in passes) * n
    seconds = _seconds_per_gradient(material, precision) * (backwards + forwards / 3)
    return (
        f"{backwards:,.0f} gradients and {forwards:,.0f} further passes for {n} images: about {_duration(seconds)} "
        f"on {material.device.type}, {torch.get_num_threads()} threads"
    )


def _seconds_per_gradient(material: Material, precision: Precision) -> float:
    """Per image, from the second of two passes over one micro-batch."""
    rows = list(material.batches[0])[: material.plan.micro_batch]
    x = material.images(rows)
    goal = make_goal("misclassify", material.y[rows], material.manifest.labels, material.manifest.head)
    objective = Objective(Metered(material.model, micro_batch=len(rows), precision=precision), goal)
    objective.gradient(x)
    began = time.perf_counter()
    objective.gradient(x)
    return (time.perf_counter() - began) / len(rows)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
