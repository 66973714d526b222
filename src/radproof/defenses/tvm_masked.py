# SPDX-License-Identifier: Apache-2.0
"""Total-variation minimisation from a random half of the pixels: what was not kept cannot carry a perturbation.

Guo et al., "Countering Adversarial Images using Input Transformations", ICLR 2018: pixels are dropped with probability
0.5 and filled in, lambda 0.03. Their TV is a sum of norms over whole rows and columns in one solver; here it is the
isotropic one, of `tvm`.
"""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field
from torch import Generator, Tensor

from radproof.core.types import Backward, Defense
from radproof.defenses.checks import require_images
from radproof.defenses.draws import uniforms
from radproof.defenses.masked_rof import Filled, masked_rof, masked_twin
from radproof.defenses.registry import Gap, Iterations, Lambda, Votes, defense
from radproof.defenses.tvm import as_images, planes

Drop = Annotated[float, Field(ge=0, le=0.95, description="Probability that a pixel is dropped, in all channels.")]


@dataclass(frozen=True)
class TvmMasked:
    """min Σ m (u − f)² + lambda TV(u), m a fresh draw for each image, solved to a relative duality gap.

    Channels share the mask; three equal channels are solved once. Costs about five times `tvm`.
    """

    lam: Lambda = 0.03
    drop: Drop = 0.5
    gap: Gap = 1e-2
    max_iterations: Iterations = 1000
    votes: Votes = 1
    unrolled: int = 20  # iterations that the twin's gradient sees
    deterministic: bool = field(default=False, init=False)
    differentiable: bool = field(default=False, init=False)
    ways: tuple[Backward, ...] = field(default=("identity", "twin"), init=False)

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor:
        """(N, C, H, W) in [0, 1] -> the same, restored. Raises BadInput for what is no image."""
        require_images(x)
        return as_images(self.solve(x, rng=rng)[0].u, x) if len(x) else x.detach().clone()

    def solve(self, x: Tensor, *, rng: Generator) -> tuple[Filled, Tensor]:
        """The planes behind images x, with the gap that each reached, and the mask of each, 1 where kept."""
        f = planes(x.detach())
        drawn = uniforms(x.detach(), rng, 1, *x.shape[2:])
        kept = (drawn >= self.drop).to(f).expand(-1, len(f) // len(x), -1, -1).flatten(0, 1)
        return masked_rof(f, kept, self.lam, gap=self.gap, max_iterations=self.max_iterations), kept

    def surrogate(self, x: Tensor, *, rng: Generator) -> Tensor:
        """The same images from the same pixels, with a gradient through the last iterations at the solution."""
        require_images(x.detach())
        if not len(x):
            return x.clone()
        solved, kept = self.solve(x, rng=rng)
        return as_images(masked_twin(planes(x), kept, solved, self.lam, steps=self.unrolled), x)


@defense(title="Total-variation minimisation from kept pixels", paper="Guo et al., ICLR 2018")
def tvm_masked(
    lam: Lambda = 0.03, drop: Drop = 0.5, gap: Gap = 1e-2, max_iterations: Iterations = 1000, votes: Votes = 1
) -> Defense:
    """Drop pixels at random and restore the image from the others by total variation."""
    return TvmMasked(lam, drop, gap, max_iterations, votes)
