# SPDX-License-Identifier: Apache-2.0
"""Whether an adversarial image still fools after what happens to images between the archive and the reader."""

from collections.abc import Sequence
from itertools import starmap

import torch

from radproof.assess.answers import Answered, rightness
from radproof.assess.result import Survival, Survived, Treatment
from radproof.assess.summary import Measurer
from radproof.core.goals import goal as make_goal
from radproof.detectors.benign import Handling


def survival(found: Sequence[Answered], measurer: Measurer, names: Sequence[Handling]) -> Survival | None:
    """The table of every attack on the model by every handling; None where nothing was put through any."""
    clean = next(a for a in found if a.job.kind == "clean" and a.defense == "none")
    made = [a for a in found if a.job.kind == "attack" and a.treated]
    if not made or not clean.treated:
        return None

    def treatment(handling: Handling) -> Treatment:
        right, _ = rightness(clean.treated[handling.name], measurer.truth(clean.rows), measurer.head)
        return Treatment(
            name=handling.name, title=handling.title, clean_accuracy=measurer.resampler(clean.rows).mean(right)
        )

    def row(a: Answered, handling: Handling) -> Survived:
        material = measurer.material
        y = material.y.cpu()[torch.as_tensor(a.rows)]
        goal = make_goal(a.job.goal, y, material.manifest.labels, material.manifest.head)
        still = goal.reached(torch.as_tensor(a.treated[handling.name])).numpy()
        return Survived(
            attack=a.job.label,
            goal=a.job.goal,
            eps=a.job.eps,
            budget=a.job.budget,
            treatment=handling.name,
            success=measurer.resampler(a.rows).mean(still, a.clean_right & a.reached),
        )

    rows = starmap(row, ((a, handling) for a in made for handling in names))
    return Survival(treatments=tuple(map(treatment, names)), rows=tuple(rows))
