# SPDX-License-Identifier: Apache-2.0
"""The attacks of a run, a batch at a time: what is finished is not done again."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from radproof.assess.craft import in_scope, make
from radproof.assess.estimate import estimate_cost
from radproof.assess.jobs import Job
from radproof.assess.material import Material
from radproof.assess.outline import weight_of
from radproof.assess.scoring import scored
from radproof.assess.workspace import Arrays, Workspace
from radproof.attacks.metered import Precision, choose_precision
from radproof.core.goals import goal as make_goal
from radproof.core.progress import Progress


def run_batch(material: Material, job: Job, batch: int, root: Path, precision: Precision) -> Arrays:
    """Make and score one batch of a job; nothing of it is kept before the caller saves what this returns."""
    rows = in_scope(material, job, material.batches[batch])
    if not rows:
        return {"rows": np.zeros(0, np.int64)}
    return scored(material, job, batch, make(material, job, batch, rows, root, precision))


def precision_of(space: Workspace, material: Material, jobs: Sequence[Job]) -> Precision:
    """What attacks compute in: decided once per run, on the first batch."""
    rows = list(material.batches[0])
    goal = make_goal("misclassify", material.y[rows], material.manifest.labels, material.manifest.head)

    def decide() -> str:
        """bfloat16 only where every attacked network bears it."""
        x, wanted = material.images(rows), material.plan.precision
        networks = {id(n): n for n in (material.model, *(c.network for c in material.contenders.values()))}
        found = {choose_precision(network, x, goal, wanted) for network in networks.values()}
        return "bf16" if found == {"bf16"} else "fp32"

    needed = any(job.kind == "attack" for job in jobs)
    known = space.recall("precision")
    found = known or space.remember("precision", {"precision": decide() if needed else "fp32"})
    return "bf16" if found["precision"] == "bf16" else "fp32"


def run_jobs(
    space: Workspace,
    material: Material,
    jobs: Sequence[Job],
    precision: Precision,
    progress: Progress,
) -> None:
    """Make and score every batch that is not finished, and keep each as soon as it is."""
    batches = range(len(material.batches))
    todo = [(job, batch) for job in jobs for batch in batches if not space.has(job.key, batch)]
    images = {job.key: 0 for job in jobs}
    for job, batch in todo:
        images[job.key] += len(in_scope(material, job, material.batches[batch]))
    if todo and not material.replay:
        progress.note(estimate_cost(material, [(job, images[job.key]) for job in jobs], precision))
    progress.start("attacks", sum(weight_of(job, material) * images[job.key] for job in jobs))
    for job, batch in todo:
        space.save(job.key, batch, run_batch(material, job, batch, space.root, precision))
        progress.advance("attacks", weight_of(job, material) * len(in_scope(material, job, material.batches[batch])))
