# SPDX-License-Identifier: Apache-2.0
"""Total-variation minimisation as a defence: min ‖u − f‖² + lambda TV(u), the Rudin-Osher-Fatemi model.

Guo et al., "Countering Adversarial Images using Input Transformations", ICLR 2018, drop pixels at random besides; this
is the plain model without dropout, deterministic. In scikit-image's `denoise_tv_chambolle`, weight is lambda / 2.
"""

from dataclasses import dataclass, field

from torch import Generator, Tensor

from radproof.core.types import Backward, Defense
from radproof.defenses.checks import require_images
from radproof.defenses.registry import Gap, Iterations, Lambda, defense
from radproof.defenses.rof import Solution, rof, rof_twin


@dataclass(frozen=True)
class Tvm:
    """Each channel smoothed by itself, to a relative duality gap; three equal channels are solved once."""

    lam: Lambda = 0.1
    gap: Gap = 1e-3
    max_iterations: Iterations = 500
    unrolled: int = 20  # iterations that the twin's gradient sees
    deterministic: bool = field(default=True, init=False)
    differentiable: bool = field(default=False, init=False)
    ways: tuple[Backward, ...] = field(default=("identity", "twin"), init=False)
    votes: int = field(default=1, init=False)

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor:
        """(N, C, H, W) in [0, 1] -> the same, smoothed. Raises BadInput for what is no image."""
        require_images(x)
        return as_images(self.solve(x).u, x) if len(x) else x.detach().clone()

    def solve(self, x: Tensor) -> Solution:
        """The planes behind images x, with the gap that each reached: for whoever wants to see the convergence."""
        return rof(planes(x.detach()), self.lam / 2, gap=self.gap, max_iterations=self.max_iterations)

    def surrogate(self, x: Tensor, *, rng: Generator) -> Tensor:
        """The same images with a gradient through the last iterations at the solution."""
        require_images(x.detach())
        if not len(x):
            return x.clone()
        return as_images(rof_twin(planes(x), self.solve(x).dual, self.lam / 2, steps=self.unrolled), x)


def planes(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N or 3N, H, W): one plane per channel, one per image where all channels are the same."""
    exact = x if x.element_size() >= 4 else x.float()
    if x.shape[1] == 1:
        return exact[:, 0]
    equal = bool((exact.detach() == exact.detach()[:, :1]).all())
    if not equal:
        return exact.flatten(0, 1)
    grey = exact.mean(1)  # hands the gradient back to all channels; its value is a rounding off theirs
    return grey + (exact[:, 0] - grey).detach()


def as_images(planes: Tensor, x: Tensor) -> Tensor:
    """Planes in the order of `planes` -> images of x's shape and type, in [0, 1]."""
    n, channels, height, width = x.shape
    return planes.view(n, -1, height, width).expand(n, channels, -1, -1).clamp(0, 1).to(x.dtype).contiguous()


@defense(title="Total-variation minimisation", paper="Rudin, Osher & Fatemi, 1992; Guo et al., ICLR 2018")
def tvm(lam: Lambda = 0.1, gap: Gap = 1e-3, max_iterations: Iterations = 500) -> Defense:
    """Minimise ‖u − f‖² + lambda TV(u) over u, solved to a stated duality gap; `lam` is lambda."""
    return Tvm(lam, gap, max_iterations)
