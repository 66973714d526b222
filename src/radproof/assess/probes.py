# SPDX-License-Identifier: Apache-2.0
"""Probes of everything that answers: whether its gradients are of use, and whether more effort would find more.

The bare model and every contender are probed alike, on some images spread over the test fold, at the plan's largest
budget, through the backward passes that the adaptive attacks took. What is found is kept by batch; `probed` makes
figures of it, and `doubts_probes` the sentences. After Athalye et al. (arXiv:1802.00420) and Carlini et al.
(arXiv:1902.06705).
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from radproof.assess.answers import rightness
from radproof.assess.bench import Bench
from radproof.assess.contenders import Contender
from radproof.assess.jobs import Job, list_jobs
from radproof.assess.material import Material
from radproof.assess.probe_answers import measured
from radproof.assess.workspace import Arrays, Workspace
from radproof.core.records import digest

LEAST, MOST = 24, 48  # images probed of each contender: a third of the test fold within these, in whole batches


def subjects(material: Material) -> dict[str, Contender]:
    """What is probed: the bare model, called none, and every contender; not those that only answer."""
    bare = Contender(material.model, material.fingerprint, material.card.architecture)
    return {name: one for name, one in {"none": bare, **material.contenders}.items() if one.climbable}


def probe_batches(material: Material) -> list[int]:
    """Some batches, spread over the test fold: neighbours may be of one class."""
    batches = material.batches
    images = min(max(len(material.test) // 3, LEAST), MOST)
    wanted = min(len(batches), -(-images // max(len(batch) for batch in batches)))
    return sorted({round(place) for place in np.linspace(0, len(batches) - 1, wanted)})


def probe_key(name: str) -> str:
    """Where a contender's probes are kept."""
    return f"probe_{digest(name)[:12]}"


def probe(material: Material, space: Workspace, name: str, batch: int) -> Arrays:
    """Everything that is probed of one contender on one batch."""
    bench = Bench(material, name, subjects(material)[name], batch, planned_steps(material, name))
    logits = bench.answer(bench.x, "clean")
    right = bench.right_of(logits)
    climbed = bench.climbed(right)
    planned = _withstood(material, space, name, batch)
    return {
        "rows": np.array(bench.rows, np.int64),
        "logits": logits.numpy(),
        "right": right.numpy(),
        "noise": (right & bench.right(bench.noisy(), "noise")).numpy(),
        "fgsm": bench.left("fgsm", right).numpy(),
        **climbed,
        "margin": bench.left("margin", right).numpy(),
        "square": bench.left("square", torch.as_tensor(climbed["pgd"])).numpy(),
        "longer": bench.left("longer", right & planned).numpy(),
        "planned": planned.numpy(),
        "huge": bench.huge(torch.as_tensor(climbed["pgd"])).numpy(),
        **measured(bench),
        "steps": np.array(bench.steps),
    }


def planned_jobs(material: Material, name: str, eps: float) -> list[Job]:
    """The plan's attacks on a contender within an L-infinity budget, made on itself or carried over."""
    jobs = material.replay.jobs if material.replay else list_jobs(material.plan, material.parts, material.contenders)
    return [
        job
        for job in jobs
        if job.kind == "attack"
        and (job.threat, job.goal, job.eps) == ("linf", "misclassify", eps)
        and (job.role != "defense" or job.on == name)
    ]


def planned_steps(material: Material, name: str) -> int:
    """Steps of the plan's longest attack on a contender; 0 where none says."""
    own = [job for job in planned_jobs(material, name, material.plan.budgets[-1]) if _is_own(job, name)]
    steps = [job.params.get("steps") for job in own]
    return max((count for count in steps if isinstance(count, int)), default=0)


def _is_own(job: Job, name: str) -> bool:
    return job.role == ("model" if name == "none" else "defense")


def _withstood(material: Material, space: Workspace, name: str, batch: int) -> Tensor:
    """(N,) bool: images that a contender answers rightly after each of the plan's attacks; none without attacks."""
    rows = list(material.batches[batch])
    right = np.ones(len(rows), dtype=bool)
    answers = list(_answers(material, space, name, batch))
    for of, logits in answers:
        y = material.y.cpu().numpy()[of]
        right &= rightness(logits.astype(np.float64), y, material.manifest.head)[0]
    return torch.as_tensor(right if answers else np.zeros_like(right))


def _answers(material: Material, space: Workspace, name: str, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for job in planned_jobs(material, name, material.plan.budgets[-1]):
        if space.has(job.key, batch):
            arrays = space.load(job.key, batch)
            if f"logits:{name}" in arrays:
                yield arrays["rows"], arrays[f"logits:{name}"]
