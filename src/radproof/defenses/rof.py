# SPDX-License-Identifier: Apache-2.0
"""Total-variation denoising, min ½‖u − f‖² + w TV(u) with isotropic TV, solved to a stated duality gap.

Rudin, Osher & Fatemi, Physica D 1992 (the problem); Chambolle, JMIV 2004 (its dual); Beck & Teboulle, IEEE TIP 2009
(accelerated projected gradient on the dual). The steps are in `rof_ascent`, the start from half the resolution in
`rof_levels`.

The problem is strictly convex, so it has one answer, and the gap between the primal objective and its dual bounds how
far any iterate is from it: gap ≥ ½‖u − u*‖². A tolerance is the only honest parameter; the solver is nobody's business.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from radproof.defenses.rof_ascent import MOMENTUM, SURE_STEP, DualAscent
from radproof.defenses.rof_levels import begin, levels_for

_NEXT_CHECK = 2  # iterations; a check costs about one


@dataclass(frozen=True)
class Solution:
    """The smoothed planes and how close to the exact answer each of them is."""

    u: Tensor  # (N, H, W)
    dual: Tensor  # (N, 2, H, W), each vector at most w long
    gap: Tensor  # (N,) duality gap over objective
    iterations: Tensor  # (N,) at full resolution


def rof(f: Tensor, w: float, *, gap: float, max_iterations: int) -> Solution:
    """Smooth planes f (N, H, W), float32 or float64, each until its relative duality gap is at most `gap`.

    An image that has not got there after `max_iterations` is returned as it is, with the gap it reached.
    On a CPU images are solved one after the other: a plane stays in the processor's cache, and no image's bytes
    depend on the others in its batch.
    """
    f = f.detach().contiguous()
    n, height, width = f.shape
    found = Solution(
        torch.empty_like(f), f.new_empty(n, 2, height, width), f.new_empty(n), f.new_empty(n, dtype=torch.long)
    )
    size = 1 if f.device.type == "cpu" else n
    if n:
        levels, steps = levels_for(f[:size], w, gap)
        for start in range(0, n, size):
            begin(levels, f[start : start + size], steps)
            _solve(levels[0], gap, max_iterations, found, start, first=4 if levels[1:] else 2)
    return found


def rof_twin(f: Tensor, dual: Tensor, w: float, *, steps: int) -> Tensor:
    """The same answer with a gradient: `steps` accelerated iterations from the solved `dual`, seen by autograd.

    At the solution these leave the value where it is; their derivative is the implicit one, cut after `steps` terms.
    """
    p = q = dual.detach()
    for k in range(steps):
        moved = q + SURE_STEP * _gradient(f + _divergence(q))
        moved = moved * (w * (moved[:, :1] * moved[:, :1] + moved[:, 1:] * moved[:, 1:]).clamp_min(w * w).rsqrt())
        p, q = moved, moved + k / (k + MOMENTUM) * (moved - p)
    return f + _divergence(p)


def _solve(
    ascent: DualAscent, gap: float, max_iterations: int, found: Solution, start: int, *, first: int = _NEXT_CHECK
) -> None:
    """Go on with some planes together and write them to rows `start` … of `found`, each when it is done.

    `first` is the iteration after which they are looked at for the first time.
    """
    rows = list(range(start, start + ascent.shape[0]))
    due = [first] * len(rows)
    for iteration in range(1, max_iterations + 1):
        ascent.step()
        last = iteration == max_iterations
        if iteration < min(due) and not last:
            continue
        reached = ascent.relative_gap().tolist()
        at = [last or (soon <= iteration and got <= gap) for soon, got in zip(due, reached, strict=True)]
        for place, row in enumerate(rows):
            if at[place]:
                found.u[row], found.dual[row] = ascent.primal[place], ascent.dual[place]
                found.gap[row], found.iterations[row] = reached[place], iteration
        if all(at):
            return
        due = [
            _next(iteration, got, gap) if soon <= iteration else soon for soon, got in zip(due, reached, strict=True)
        ]
        if any(at):
            left = [place for place, done in enumerate(at) if not done]
            rows, due, ascent = [rows[i] for i in left], [due[i] for i in left], ascent.only(left)


def _next(iteration: int, reached: float, gap: float) -> int:
    """When to look again: the gap falls about as 1 / k², and each image is looked at in its own time."""
    return max(iteration + _NEXT_CHECK, math.ceil(iteration * min(2.0, math.sqrt(reached / gap))))


def _gradient(u: Tensor) -> Tensor:
    """(N, H, W) -> (N, 2, H, W): forward differences, 0 at the far edge."""
    return torch.stack([F.pad(u.diff(dim=2), (0, 1)), F.pad(u.diff(dim=1), (0, 0, 0, 1))], dim=1)


def _divergence(p: Tensor) -> Tensor:
    """The negative adjoint of `_gradient`, for p that is 0 where `_gradient` is."""
    across, down = p[:, 0], p[:, 1]
    return across - F.pad(across[:, :, :-1], (1, 0)) + down - F.pad(down[:, :-1], (0, 0, 1, 0))
