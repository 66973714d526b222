# SPDX-License-Identifier: Apache-2.0
"""Accelerated projected gradient on the dual of the ROF problem, in place on buffers allocated once.

Beck & Teboulle, IEEE TIP 2009; the momentum is that of Chambolle & Dossal, JOTA 2015. The dual field is kept in units
of w, so that its vectors are at most 1 long, and images in their own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SURE_STEP = 1 / 8  # 1 / ‖gradient‖²: with it convergence is proven from wherever the ascent stands
MOMENTUM = 4.0
# Momentum leaves linear modes stable up to 4/3 of the sure step, and the gap tells how good the iterates are.
_BOLD_STEP, _BOLD_ITERATIONS = 1.28 * SURE_STEP, 300


class _Field:
    """A vector field (2, N · H · W) on flat memory, with the views that differences need, made once.

    The horizontal component is 0 in the last column and the vertical one in the last row, so a shift by 1 or by the
    width of the whole memory never mixes rows or images, and every operation is contiguous.
    """

    def __init__(self, like: Tensor) -> None:
        n, height, width = like.shape
        self.grid = like.new_zeros(2, n, height, width)
        self.flat = self.grid.view(2, -1)
        self.across, self.down = self.flat
        self.across_but_last, self.down_but_last = self.across[:-1], self.down[:-width]
        self.last_column, self.last_row = self.grid[0, :, :, -1], self.grid[1, :, -1]

    def close(self) -> None:
        """Nothing flows over the far edges."""
        self.last_column.zero_()
        self.last_row.zero_()


class DualAscent:
    """Planes (N, H, W) of one shape on their way to the solution; `begin` it anew for each batch of them."""

    def __init__(self, like: Tensor, w: float) -> None:
        self.shape, self.w, self.k = like.shape, w, 0
        width = like.shape[2]
        self.f = like.reshape(-1)
        self.p, self.q = _Field(like), _Field(like)  # the feasible point; the point extrapolated from it
        self.u, self.spare = torch.empty_like(self.f), torch.empty_like(self.f)
        self.right, self.left = self.u[1:], self.u[:-1]
        self.below, self.above = self.u[width:], self.u[:-width]
        self._slope: _Field | None = None  # made when the gap is first asked for

    def begin(self, f: Tensor) -> Tensor:
        """Take planes f; returns the field (2, N, H, W) to start from, for the caller to fill and to close."""
        self.f, self.k = f.reshape(-1), 0
        return self.q.grid

    def step(self) -> None:
        """One iteration."""
        p, q, w = self.p, self.q, self.w
        rate = (_BOLD_STEP if self.k < _BOLD_ITERATIONS else SURE_STEP) / w
        self._set_primal(q)
        q.across_but_last.add_(self.right, alpha=rate).sub_(self.left, alpha=rate)
        q.down_but_last.add_(self.below, alpha=rate).sub_(self.above, alpha=rate)
        q.close()
        torch.mul(q.across, q.across, out=self.spare).addcmul_(q.down, q.down)
        q.flat.mul_(self.spare.clamp_(min=1).rsqrt_())
        if self.k:
            p.flat.lerp_(q.flat, 1 + self.k / (self.k + MOMENTUM))
        else:
            p.flat.copy_(q.flat)
        self.p, self.q = q, p
        self.k += 1

    def relative_gap(self) -> Tensor:
        """(N,) duality gap over primal objective at the feasible point; 0 where the plane is constant."""
        slope = self._slope = self._slope or _Field(self.u.view(self.shape))
        self._set_primal(self.p)
        torch.sub(self.right, self.left, out=slope.across_but_last)
        torch.sub(self.below, self.above, out=slope.down_but_last)
        slope.close()
        length = torch.mul(slope.across, slope.across, out=self.spare).addcmul_(slope.down, slope.down).sqrt_()
        variation = self.w * self._per_image(length)
        length.addcmul_(slope.across, self.p.across, value=-1).addcmul_(slope.down, self.p.down, value=-1)
        missing = self.w * self._per_image(length).clamp_min(0)  # each pixel's part is at least 0
        fidelity = 0.5 * self._per_image(torch.sub(self.u, self.f, out=self.spare).square_())
        objective = fidelity + variation
        return torch.where(objective > 0, missing / objective, 0)

    @property
    def primal(self) -> Tensor:
        """(N, H, W): the image that the feasible point stands for, as `relative_gap` left it."""
        return self.u.view(self.shape)

    @property
    def dual(self) -> Tensor:
        """(N, 2, H, W): the feasible point, each vector at most w long."""
        return self.w * self.p.grid.transpose(0, 1)

    def only(self, rows: Sequence[int]) -> "DualAscent":
        """The same ascent for these images alone."""
        f = self.f.view(self.shape)[list(rows)]
        fewer = DualAscent(f, self.w)
        fewer.begin(f)
        for mine, theirs in ((fewer.p, self.p), (fewer.q, self.q)):
            mine.grid.copy_(theirs.grid[:, list(rows)])
        fewer.k = self.k
        return fewer

    def _set_primal(self, field: _Field) -> None:
        """u = f + w div(field)."""
        w = self.w
        torch.add(self.f, field.across, alpha=w, out=self.u)
        self.right.sub_(field.across_but_last, alpha=w)
        self.u.add_(field.down, alpha=w)
        self.below.sub_(field.down_but_last, alpha=w)

    def _per_image(self, v: Tensor) -> Tensor:
        return v.view(self.shape[0], -1).sum(1)
