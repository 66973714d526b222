# SPDX-License-Identifier: Apache-2.0
"""What a contender answers and how its gradient looks, before anything is attacked."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from radproof.assess.answers import rightness
from radproof.assess.bench import Bench
from radproof.assess.scoring import predict
from radproof.assess.workspace import Arrays
from radproof.attacks.objective import Objective
from radproof.core.types import Classifier, Goal
from radproof.errors import NoGradient

DRAWS = 8  # answers of a random defence whose spread is told
ALONE = 8  # images that are also asked about one by one
ABSENT = -1.0  # size of a gradient that there is not


def measured(bench: Bench) -> Arrays:
    """Sizes of gradients, how far answers to equal images lie apart, and how well two halves of the draws agree."""
    x, y, contender = bench.x, bench.material.y.cpu().numpy()[bench.rows], bench.contender
    sizes = np.full(len(x), ABSENT)
    for way in bench.ways:
        sizes = np.fmax(sizes, _sizes(bench.attacked(way), x, bench.goal))
    singles = [predict(bench.attacked("none", eot=1, seed=1 + n), x) for n in range(DRAWS if contender.random else 2)]
    confidence = np.stack([rightness(z.double().numpy(), y, bench.material.manifest.head)[1] for z in singles])
    spread = max(float(singles[0].abs().max()), 1e-12)
    few = x[:ALONE]
    model = bench.attacked("none", eot=1, seed=1)
    alone = torch.cat([predict(bench.attacked("none", eot=1, seed=1), image) for image in few.split(1)])
    apart_alone = torch.zeros(len(x))
    apart_alone[: len(few)] = (alone - predict(model, few)).abs().amax(1)
    agreement = _agreement(bench, x) if contender.random else np.full(len(x), np.nan)
    return {
        "size": sizes,
        "apart": (torch.stack(singles).amax(0) - torch.stack(singles).amin(0)).amax(1).double().numpy() / spread,
        "alone": apart_alone.double().numpy() / spread,
        "variance": confidence.var(axis=0, ddof=1),
        "agreement": agreement,
    }


def _sizes(model: Classifier, x: Tensor, goal: Goal) -> np.ndarray:
    """(N,) the largest partial derivative of every image as it is: NaN where one is, ABSENT where there is none."""
    found: list[Tensor] = []
    for rows in torch.arange(len(x), device=x.device).split(max(1, model.micro_batch)):
        leaf = x[rows].detach().requires_grad_()
        with torch.enable_grad():
            loss = goal[rows].loss(model(leaf).double() if x.device.type != "mps" else model(leaf)).sum()
        gradient = torch.autograd.grad(loss, leaf, allow_unused=True)[0] if loss.requires_grad else None
        absent = torch.full((len(rows),), ABSENT, device=x.device)
        found.append(absent if gradient is None else _largest(gradient))
    return torch.cat(found).double().cpu().numpy()


def _largest(gradient: Tensor) -> Tensor:
    """(N,), NaN where anything is not finite."""
    flat = gradient.flatten(1)
    return flat.abs().amax(1).where(flat.isfinite().all(1), torch.nan)


def _agreement(bench: Bench, x: Tensor) -> np.ndarray:
    """(N,) cosine between gradients over two halves of the draws."""
    half = max(1, bench.material.plan.eot // 2)
    models = [bench.attacked(bench.ways[-1], eot=half, seed=seed) for seed in (1, 2)]
    try:
        a, b = (Objective(model, bench.goal).gradient(x).flatten(1).double().cpu() for model in models)
    except NoGradient:
        return np.full(len(x), np.nan)
    a, b = (v / v.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny) for v in (a, b))
    return cosine_similarity(a, b, dim=1).numpy()
