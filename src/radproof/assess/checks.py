# SPDX-License-Identifier: Apache-2.0
"""Checks beside the attacks, kept by batch like them: random noise, probes, and each image's smallest budget."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from radproof.assess.answers import rightness
from radproof.assess.material import Material, batch_generator
from radproof.assess.probes import probe, probe_batches, probe_key, subjects
from radproof.assess.result import Smallest
from radproof.assess.scoring import suspicions
from radproof.assess.summary import Measurer
from radproof.assess.workspace import Arrays, Workspace
from radproof.attacks.objective import Objective
from radproof.attacks.smallest import smallest_budgets
from radproof.core.depth import Depth
from radproof.core.goals import goal as make_goal
from radproof.core.progress import Progress
from radproof.core.records import Estimate
from radproof.core.types import Goal
from radproof.core.whole import Piece, Stage
from radproof.data.storage import quantise, to_unit_tensor
from radproof.errors import NoGradient

Check = Callable[[int], Arrays]  # of one batch
PROBED = 200.0  # passes of an image that is probed, about
GRADIENT = 3.0  # passes


@dataclass(frozen=True)
class _Work:
    """One check: where its batches are kept, which they are, how it is done, and about what it costs an image."""

    kind: str
    key: str
    batches: Sequence[int]
    check: Check
    passes: float


def run_checks(material: Material, space: Workspace, progress: Progress) -> None:
    """Every check that the plan asks for; finished batches are not done again."""
    todo = [
        (work, batch) for work in _checks(material, space) for batch in work.batches if not space.has(work.key, batch)
    ]
    progress.start("checks", sum(_cost(material, work, batch) for work, batch in todo))
    for work, batch in todo:
        space.save(work.key, batch, work.check(batch))
        progress.advance("checks", _cost(material, work, batch))


def outline(material: Material, space: Workspace) -> Stage:
    """The same work, counted."""
    pieces: list[Piece] = []
    for work in _checks(material, space):
        counts = [0.0, 0.0]
        for batch in work.batches:
            counts[space.has(work.key, batch)] += _cost(material, work, batch)
        pieces.append(Piece(work.kind, *counts))
    return Stage("checks", tuple(pieces))


def _cost(material: Material, work: _Work, batch: int) -> float:
    return work.passes * len(material.batches[batch])


def _checks(material: Material, space: Workspace) -> Iterator[_Work]:
    plan, everything = material.plan, range(len(material.batches))

    def noise_of(eps: float) -> Check:
        return lambda batch: _noise(material, _noise_key(eps), batch, eps)

    def probe_of(name: str) -> Check:
        return lambda batch: probe(material, space, name, batch)

    for eps in plan.budgets:
        yield _Work("noise", _noise_key(eps), everything, noise_of(eps), 1.0)
    for name, one in subjects(material).items():
        passes = PROBED * (plan.eot if one.random else 1)
        yield _Work(f"probes of {name}"[:100], probe_key(name), probe_batches(material), probe_of(name), passes)
    if plan.searched:
        passes = plan.searched.steps * plan.searched.rounds * GRADIENT
        batches = _smallest_batches(material)
        yield _Work("smallest", "smallest", batches, lambda batch: _least(material, "smallest", batch), passes)


def _smallest_batches(material: Material) -> range:
    wanted = material.plan.searched
    return material.first_batches(wanted.images if wanted else None)


def _noise_key(eps: float) -> str:
    return f"noise_{eps:.6f}"


def _noise(material: Material, name: str, batch: int, eps: float) -> Arrays:
    rows, x, rng = _opened(material, name, batch)
    signs = torch.randint(0, 2, x.shape, generator=rng, device=x.device, dtype=torch.int8) * 2 - 1
    noisy = _as_stored((x + eps * signs).clamp(0, 1), x, eps, material.depths[rows[0]])
    return {"rows": np.array(rows, np.int64), "logits": _logits(material, noisy)}


def _opened(material: Material, name: str, batch: int) -> tuple[list[int], Tensor, torch.Generator]:
    rows = list(material.batches[batch])
    return rows, material.images(rows), batch_generator(material, name, batch)


def _least(material: Material, name: str, batch: int) -> Arrays:
    rows, x, rng = _opened(material, name, batch)
    plan = material.plan.searched
    assert plan is not None
    depth = material.depths[rows[0]]
    goal = _goal(material, rows)
    try:
        loose, kept, _, read = smallest_budgets(
            material.model,
            x,
            goal,
            most=plan.most,
            steps=plan.steps,
            rounds=plan.rounds,
            depth=depth,
            rng=rng,
            store=lambda adversarial, original, eps: _as_stored(adversarial, original, eps, depth),
        )
    except NoGradient:  # nothing to climb: no budget fools what was right
        loose = kept = torch.where(Objective(material.model, goal).judge(x)[1], 0.0, torch.nan)
        read = x
    return {
        "rows": np.array(rows, np.int64),
        "float": loose.double().cpu().numpy(),
        "stored": kept.double().cpu().numpy(),
        **(suspicions(material, read) if material.detectors else {}),
    }


def _as_stored(adversarial: Tensor, original: Tensor, eps: float, depth: Depth) -> Tensor:
    ints = quantise(adversarial, original, eps=eps, norm="linf", depth=depth)
    return to_unit_tensor(ints, depth).to(original.device)


def _goal(material: Material, rows: list[int]) -> Goal:
    return make_goal("misclassify", material.y[rows], material.manifest.labels, material.manifest.head)


@torch.no_grad()
def _logits(material: Material, x: Tensor) -> np.ndarray:
    return torch.cat([material.model(part) for part in x.split(material.model.micro_batch)]).float().cpu().numpy()


def noise_accuracy(material: Material, space: Workspace, measurer: Measurer) -> dict[float, Estimate]:
    """Accuracy under random noise of each budget's size."""
    return {
        eps: _accuracy(material, space, measurer, _noise_key(eps), range(len(material.batches)))
        for eps in material.plan.budgets
    }


def _accuracy(material: Material, space: Workspace, measurer: Measurer, name: str, batches: range) -> Estimate:
    stored = [space.load(name, batch) for batch in batches]
    rows = np.concatenate([a["rows"] for a in stored])
    logits = np.concatenate([a["logits"] for a in stored]).astype(np.float64)
    right, _ = rightness(logits, material.y.cpu().numpy()[rows], material.manifest.head)
    return measurer.resampler(rows).mean(right)


def smallest(material: Material, space: Workspace, measurer: Measurer) -> Smallest | None:
    """The distribution of smallest budgets over images that were right before."""
    plan = material.plan.searched
    if plan is None:
        return None
    stored = [space.load("smallest", batch) for batch in _smallest_batches(material)]
    rows = np.concatenate([a["rows"] for a in stored])
    loose, kept = (np.concatenate([a[name] for a in stored]) for name in ("float", "stored"))
    were_right = loose != 0  # 0 stands for images that need no change
    resampler = measurer.resampler(rows)
    return Smallest(
        attack="pgd",
        images=int(were_right.sum()),
        median_float=resampler.median(loose, were_right, most=plan.most),
        median_stored=resampler.median(kept, were_right, most=plan.most),
        float_budgets=_listed(loose[were_right]),
        stored_budgets=_listed(kept[were_right]),
        most=plan.most,
    )


def at_smallest(material: Material, space: Workspace) -> Arrays | None:
    """Per image searched: its row, smallest stored budget (NaN: none), and each detector's score at that budget."""
    if material.plan.searched is None or not material.detectors:
        return None
    stored = [space.load("smallest", batch) for batch in _smallest_batches(material)]
    return {name: np.concatenate([a[name] for a in stored]) for name in stored[0]}


def _listed(budgets: np.ndarray) -> tuple[float | None, ...]:
    return tuple(round(float(b), 9) if np.isfinite(b) else None for b in budgets)
