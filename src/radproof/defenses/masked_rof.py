# SPDX-License-Identifier: Apache-2.0
"""Total variation of an image of which pixels are missing: min Σ m (u − f)² + lambda TV(u), m in {0, 1}, u in [0, 1].

Isotropic TV; Chambolle & Pock, "A first-order primal-dual algorithm for convex problems", JMIV 2011. The box changes no
answer, as the solution lies between the kept pixels' extremes, and makes the dual finite: so there is a duality gap.
It bounds Σ m (u − u*)², the error at kept pixels; where pixels are missing the answer need not be unique.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_STRIDE = 0.015  # primal step times lambda: by experiment near the best for lambda from 0.01 to 1
_CHECK_EVERY = 10  # iterations
_FLOOR = 0.1  # gap per pixel, in units of the last place of 1, at which nothing is left to gain


@dataclass(frozen=True)
class Filled:
    """The restored planes, their dual, and how close to the exact answer each of them is."""

    u: Tensor  # (N, H, W)
    dual: Tensor  # (N, 2, H, W), each vector at most lambda long
    gap: Tensor  # (N,) duality gap over objective
    iterations: Tensor  # (N,)


def masked_rof(f: Tensor, kept: Tensor, lam: float, *, gap: float, max_iterations: int) -> Filled:
    """Restore planes f (N, H, W) from the pixels where `kept` (N, H, W) is 1, to a relative duality gap each.

    Planes are solved one after the other, so none depends on its neighbours. One that has not got there after
    `max_iterations` is returned as it is.
    """
    f = f.detach()
    floor = _FLOOR * torch.finfo(f.dtype).eps * f[0].numel() if len(f) else 0
    found = Filled(torch.empty_like(f), f.new_empty(len(f), 2, *f.shape[1:]), f.new_empty(len(f)), f.new_empty(len(f)))
    for row in range(len(f)):
        plane, mask = f[row : row + 1], kept[row : row + 1]
        u, q = _start(plane, mask), f.new_zeros(1, 2, *f.shape[1:])
        ahead, iteration = u, 0
        while True:
            objective = _objective(u, plane, mask, lam)
            excess = (objective - _bound(q, plane, mask)).clamp_min(0)
            if bool(excess <= gap * objective + floor) or iteration >= max_iterations:
                break
            for _ in range(min(_CHECK_EVERY, max_iterations - iteration)):
                u, q, ahead = _step(u, q, ahead, plane, mask, lam)
                iteration += 1
        found.u[row], found.dual[row], found.iterations[row] = u[0], q[0], iteration
        found.gap[row] = excess / objective if objective > 0 else 0
    return found


def masked_twin(f: Tensor, kept: Tensor, solved: Filled, lam: float, *, steps: int) -> Tensor:
    """The same answer with a gradient: `steps` iterations from the solution, seen by autograd."""
    u, q = solved.u, solved.dual
    ahead = u
    for _ in range(steps):
        u, q, ahead = _step(u, q, ahead, f, kept, lam)
    return u


def _step(u: Tensor, q: Tensor, ahead: Tensor, f: Tensor, kept: Tensor, lam: float) -> tuple[Tensor, Tensor, Tensor]:
    tau = _STRIDE / lam
    q = q + _gradient(ahead) / (8 * tau)  # 1 / ‖gradient‖² is 1/8: the longest steps that always converge
    q = q * (lam * (q[:, :1] * q[:, :1] + q[:, 1:] * q[:, 1:]).clamp_min(lam * lam).rsqrt())
    pull = 2 * tau * kept
    moved = ((u + tau * _divergence(q) + pull * f) / (1 + pull)).clamp(0, 1)
    return moved, q, 2 * moved - u


def _objective(u: Tensor, f: Tensor, kept: Tensor, lam: float) -> Tensor:
    return (kept * (u - f).square()).sum() + lam * _gradient(u).square().sum(1).sqrt().sum()


def _bound(q: Tensor, f: Tensor, kept: Tensor) -> Tensor:
    """What no image can go below: the least over u in [0, 1] of Σ m (u − f)² − u div q, for a feasible q."""
    price = -_divergence(q)
    best = (f - price / 2).clamp(0, 1)
    return torch.where(kept > 0, (best - f).square() + best * price, price.clamp_max(0)).sum()


def _start(f: Tensor, kept: Tensor) -> Tensor:
    """Missing pixels as the mean of the kept among their eight neighbours; else of all kept; else mid-grey."""
    window = f.new_ones(1, 1, 3, 3)
    total, count = (F.conv2d(v[:, None], window, padding=1)[:, 0] for v in (f * kept, kept))
    anywhere = (f * kept).sum() / kept.sum() if bool(kept.any()) else f.new_tensor(0.5)
    return torch.where(kept > 0, f, torch.where(count > 0, total / count.clamp_min(1), anywhere)).clamp(0, 1)


def _gradient(u: Tensor) -> Tensor:
    """(N, H, W) -> (N, 2, H, W): forward differences, 0 at the far edge."""
    return torch.stack([F.pad(u.diff(dim=2), (0, 1)), F.pad(u.diff(dim=1), (0, 0, 0, 1))], dim=1)


def _divergence(p: Tensor) -> Tensor:
    """The negative adjoint of `_gradient`, for p that is 0 where `_gradient` is."""
    across, down = p[:, 0], p[:, 1]
    return across - F.pad(across[:, :, :-1], (1, 0)) + down - F.pad(down[:, :-1], (0, 0, 1, 0))
