# SPDX-License-Identifier: Apache-2.0
"""The table behind every figure: one row per image, job and scorer, with how the image came about."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from radproof.assess.answers import MEASURES, Answered
from radproof.assess.jobs import Job
from radproof.assess.material import Material
from radproof.core.depth import Depth
from radproof.core.records import canonical_json
from radproof.core.rng import seed_for
from radproof.data.manifest import Sample
from radproof.data.storage import quantise_step
from radproof.measure.classification import answers

if TYPE_CHECKING:
    import pandas as pd


def table(found: Iterable[Answered], material: Material) -> "pd.DataFrame":
    """One row per image, job and scorer: everything that a figure can be recomputed from."""
    import pandas as pd

    return pd.concat([_rows(a, material) for a in found], ignore_index=True)


def _rows(a: Answered, material: Material) -> "pd.DataFrame":
    import pandas as pd

    samples = [material.test.samples[row] for row in a.rows]
    labels = np.array(material.manifest.labels)
    said = answers(a.logits, material.manifest.head)
    given = labels[said] if said.ndim == 1 else ["|".join(labels[row]) for row in said]
    blank = np.full(len(samples), np.nan)
    return pd.DataFrame(
        {
            "sample": [s.id for s in samples],
            "patient": [s.patient for s in samples],
            "view": [s.view for s in samples],
            "truth": ["|".join(s.labels) for s in samples],
            "job": a.job.key,
            "column": a.column,
            "attack": a.job.label,
            "goal": a.job.goal,
            "eps": a.job.eps,
            "budget": a.job.budget,
            "made_on": a.job.made_on,
            "defense": a.defense,
            "answer": given,
            "confidence": a.confidence,
            "right": a.right,
            "clean_right": a.clean_right,
            "reached": a.reached,
            "reached_float": pd.array(
                a.reached_float if a.reached_float is not None else [None] * len(samples), dtype="boolean"
            ),
            **{name: a.measures.get(name, blank) for name in MEASURES},
            **{f"suspicion_{name}": a.scores.get(name, blank) for name in material.detectors},
            "forwards": a.forwards,
            "backwards": a.backwards,
            "seconds": a.seconds,
            "batch": a.batch,
            "file": a.files,
            "sha256": a.sha256,
            "logits": list(a.logits),
            "chain": [
                canonical_json(chain(a.job, a.defense, s, material.depths[row], b, material))
                for row, s, b in zip(a.rows, samples, a.batch, strict=True)
            ],
        }
    )


def chain(job: Job, defense: str, sample: Sample, depth: Depth, batch: int, material: Material) -> list[dict[str, Any]]:
    """The transformations that made the image which was scored, oldest first."""
    steps = [dict(step) for step in sample.chain]
    if job.kind != "clean":
        steps.append(attack_step(job, sample.id, sample.sha256, batch, material))
        steps.append(quantise_step(depth))
    if defense != "none":
        contender = material.contenders[defense]
        if contender.fingerprint != material.fingerprint:
            steps.append({"step": "network", "name": defense, "fingerprint": contender.fingerprint})
        steps.extend(dict(step) for step in contender.steps)
    return steps


def attack_step(job: Job, sample: str, sha256: str, batch: int, material: Material) -> dict[str, Any]:
    """How a job's image was made, as the manifest of adversarial images tells it."""
    if material.replay is not None:
        return dict(material.replay.images[job.key][sample].step)
    return {
        "step": job.kind,
        "label": job.label,
        "params": job.params,
        "goal": job.goal,
        "eps": job.eps,
        "on": job.on,
        "backward": job.backward,
        "threat": job.threat,
        "limits": job.limits,
        "role": job.role,
        "of": sample,
        "of_sha256": sha256,
        "model": material.fingerprint,
        "seed": seed_for(material.plan.seed, *job.identity(), batch),
    }
