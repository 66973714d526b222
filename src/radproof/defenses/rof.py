# SPDX-License-Identifier: Apache-2.0
"""Total-variation denoising, min ½‖u − f‖² + w TV(u) with isotropic TV, solved to a stated duality gap.

Rudin, Osher & Fatemi, Physica D 1992 (the problem); Chambolle, JMIV 2004 (its dual); Beck & Teboulle, IEEE TIP 2009
(accelerated projected gradient on the dual); Chambolle & Dossal, JOTA 2015 (the momentum used here). The dual field
starts from the solution at half the resolution, which saves four iterations in ten.

The problem is strictly convex, so it has one answer, and the gap between the primal objective and its dual bounds how
far any iterate is from it: gap ≥ ½‖u − u*‖². A tolerance is the only honest parameter; the solver is nobody's business.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_STEP = 1 / 8  # 1 / ‖gradient‖²: the largest step that always converges
_MOMENTUM = 4.0
_LEVELS, _COARSE_STEPS, _SMALLEST_SIDE = 2, 10, 16
_CHECK_EVERY = 6  # iterations; a check costs about one


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
    f = f.detach()
    n, height, width = f.shape
    found = Solution(
        torch.empty_like(f), f.new_empty(n, 2, height, width), f.new_empty(n), f.new_empty(n, dtype=torch.long)
    )
    size = 1 if f.device.type == "cpu" else max(1, n)
    for start in range(0, n, size):
        _solve(f[start : start + size], w, gap, max_iterations, found, start)
    return found


def rof_twin(f: Tensor, dual: Tensor, w: float, *, steps: int) -> Tensor:
    """The same answer with a gradient: `steps` accelerated iterations from the solved `dual`, seen by autograd.

    At the solution these leave the value where it is; their derivative is the implicit one, cut after `steps` terms.
    """
    p = q = dual.detach()
    for k in range(steps):
        moved = q + _STEP * _gradient(f + _divergence(q))
        moved = moved * (w * (moved[:, :1] * moved[:, :1] + moved[:, 1:] * moved[:, 1:]).clamp_min(w * w).rsqrt())
        p, q = moved, moved + k / (k + _MOMENTUM) * (moved - p)
    return f + _divergence(p)


def _solve(f: Tensor, w: float, gap: float, max_iterations: int, found: Solution, start: int) -> None:
    """Solve some planes together and write them to rows `start` … of `found`, each when it is done."""
    open_rows = torch.arange(start, start + len(f), device=f.device)
    ascent = _DualAscent(f, w, _coarse_start(f, w, _LEVELS))
    for iteration in range(1, max_iterations + 1):
        ascent.step()
        last = iteration == max_iterations
        if iteration % _CHECK_EVERY and not last:
            continue
        reached = ascent.relative_gap()
        done = (reached <= gap) | last
        if not bool(done.any()):
            continue
        rows = open_rows[done]
        found.u[rows], found.dual[rows] = ascent.primal()[done], ascent.dual()[done]
        found.gap[rows], found.iterations[rows] = reached[done], iteration
        open_rows = open_rows[~done]
        if not len(open_rows):
            return
        ascent = ascent.only(~done)


class _Field:
    """A vector field (2, N · H · W) on flat memory, with the views that differences need, made once.

    The horizontal component is 0 in the last column and the vertical one in the last row, so a shift by 1 or by the
    width of the whole memory never mixes rows or images, and every operation is contiguous.
    """

    def __init__(self, values: Tensor, shape: torch.Size) -> None:
        n, height, width = shape
        self.values = values.reshape(2, -1)
        self.across, self.down = self.values
        self.across_but_last, self.down_but_last = self.across[:-1], self.down[: n * height * width - width]
        self.last_column = self.across.view(shape)[:, :, -1]
        self.last_row = self.down.view(shape)[:, -1]


class _DualAscent:
    """Accelerated projected gradient on the dual, in place on buffers allocated once."""

    def __init__(self, f: Tensor, w: float, start: Tensor) -> None:
        self.shape, self.w, self.k = f.shape, w, 0
        width = f.shape[2]
        self.f = f.reshape(-1)
        self.p = _Field(start.clone(), f.shape)  # the feasible point
        self.q = _Field(start.clone(), f.shape)  # the point extrapolated from it
        self.t = _Field(torch.zeros_like(start), f.shape)
        self.u, self.length = torch.empty_like(self.f), torch.empty_like(self.f)
        self.right, self.left = self.u[1:], self.u[:-1]
        self.below, self.above = self.u[width:], self.u[: len(self.u) - width]

    def step(self) -> None:
        """One iteration."""
        self._set_primal(self.q)
        self._set_gradient()
        moved = self.t
        torch.add(self.q.values, moved.values, alpha=_STEP, out=moved.values)
        moved.values.mul_(self._squared_length().clamp_(min=self.w**2).rsqrt_().mul_(self.w))
        torch.lerp(self.p.values, moved.values, 1 + self.k / (self.k + _MOMENTUM), out=self.q.values)
        self.p, self.t = moved, self.p
        self.k += 1

    def relative_gap(self) -> Tensor:
        """(N,) duality gap over primal objective at the feasible point; 0 where the plane is constant."""
        self._set_primal(self.p)
        self._set_gradient()
        aligned = torch.mul(self.t.across, self.p.across, out=self.length).addcmul_(self.t.down, self.p.down)
        excess = -self._per_image(aligned)
        variation = self.w * self._per_image(self._squared_length().sqrt_())
        fidelity = 0.5 * self._per_image(torch.sub(self.u, self.f, out=self.length).square_())
        objective = fidelity + variation
        return torch.where(objective > 0, (variation + excess).clamp_min(0) / objective, 0)

    def primal(self) -> Tensor:
        """(N, H, W): the image that the feasible dual point stands for."""
        self._set_primal(self.p)
        return self.u.view(self.shape)

    def dual(self) -> Tensor:
        """(N, 2, H, W): the feasible dual point."""
        return self.p.values.view(2, *self.shape).transpose(0, 1)

    def only(self, rows: Tensor) -> "_DualAscent":
        """The same ascent for these images alone."""
        f = self.f.view(self.shape)[rows]
        fewer = _DualAscent(f, self.w, self.p.values.view(2, *self.shape)[:, rows])
        fewer.q = _Field(self.q.values.view(2, *self.shape)[:, rows], f.shape)
        fewer.k = self.k
        return fewer

    def _set_primal(self, dual: _Field) -> None:
        torch.add(self.f, dual.across, out=self.u)
        self.right.sub_(dual.across_but_last)
        self.u.add_(dual.down)
        self.below.sub_(dual.down_but_last)

    def _set_gradient(self) -> None:
        torch.sub(self.right, self.left, out=self.t.across_but_last)
        torch.sub(self.below, self.above, out=self.t.down_but_last)
        self.t.last_column.zero_()
        self.t.last_row.zero_()

    def _squared_length(self) -> Tensor:
        return torch.mul(self.t.across, self.t.across, out=self.length).addcmul_(self.t.down, self.t.down)

    def _per_image(self, v: Tensor) -> Tensor:
        return v.view(self.shape[0], -1).sum(1)


def _coarse_start(f: Tensor, w: float, levels: int) -> Tensor:
    """(2, N, H, W): the dual of the problem at half the resolution, doubled in size; feasible here."""
    n, height, width = f.shape
    if not levels or min(height, width) < 2 * _SMALLEST_SIDE:
        return f.new_zeros(2, n, height, width)
    half = F.avg_pool2d(f[:, None], 2, ceil_mode=True)[:, 0].contiguous()
    # An edge of a coarse pixel is two pixels long and its area four: w is worth half as much there.
    ascent = _DualAscent(half, w / 2, _coarse_start(half, w / 2, levels - 1))
    for _ in range(_COARSE_STEPS):
        ascent.step()
    doubled = 2 * ascent.p.values.view(2, *half.shape)
    fine = F.interpolate(doubled, size=(height, width), mode="bilinear", align_corners=False)
    fine[0, :, :, -1] = 0
    fine[1, :, -1, :] = 0
    fine *= (fine[0] * fine[0]).addcmul_(fine[1], fine[1]).clamp_(min=w * w).rsqrt_().mul_(w)
    return fine


def _gradient(u: Tensor) -> Tensor:
    """(N, H, W) -> (N, 2, H, W): forward differences, 0 at the far edge."""
    return torch.stack([F.pad(u.diff(dim=2), (0, 1)), F.pad(u.diff(dim=1), (0, 0, 0, 1))], dim=1)


def _divergence(p: Tensor) -> Tensor:
    """The negative adjoint of `_gradient`, for p that is 0 where `_gradient` is."""
    across, down = p[:, 0], p[:, 1]
    return across - F.pad(across[:, :, :-1], (1, 0)) + down - F.pad(down[:, :-1], (0, 0, 1, 0))
