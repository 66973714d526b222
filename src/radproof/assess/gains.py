# SPDX-License-Identifier: Apache-2.0
"""What a defence brings and what it costs: paired, image by image, against the bare model."""

from collections.abc import Sequence

import numpy as np

from radproof.assess.answers import Answered, Bools
from radproof.assess.result import Gain
from radproof.assess.summary import Measurer


def gains(found: Sequence[Answered], worst: Sequence[Answered], measurer: Measurer) -> tuple[Gain, ...]:
    """For every contender, goal and budget: how many more images stay right under the worst attack, and the price.

    `found` holds the answers to clean images, `worst` the per-image worst of each column.
    """
    clean = {a.defense: a for a in found if a.job.kind == "clean"}
    headline = {(a.job.goal, a.job.eps, a.defense): a for a in worst if a.column == "headline"}
    told: list[Gain] = []
    for (goal, eps, name), a in headline.items():
        bare = headline.get((goal, eps, "none"))
        if name == "none" or bare is None or name not in clean:
            continue
        mean = measurer.resampler(a.rows).mean
        before, after = (_on(clean[who], a.rows) for who in ("none", name))
        told.append(
            Gain(
                defense=name,
                goal=goal,
                eps=eps,
                budget=a.job.budget,
                robust=mean(_kept(a) - _kept(bare), proportion=False),
                clean=mean(after.astype(float) - before, proportion=False),
            )
        )
    return tuple(told)


def _kept(a: Answered) -> np.ndarray:
    return (a.clean_right & a.right).astype(np.float64)


def _on(a: Answered, rows: np.ndarray) -> Bools:
    """Whether clean images of these rows were answered rightly."""
    at = {int(row): place for place, row in enumerate(a.rows)}
    return a.right[[at[int(row)] for row in rows]]
