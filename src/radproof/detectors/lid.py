# SPDX-License-Identifier: Apache-2.0
"""How many directions clean neighbours lie in around an image, in every layer of the network.

Ma et al., "Characterizing Adversarial Subspaces Using Local Intrinsic Dimensionality", ICLR 2018 (arXiv:1801.02613):
an attack takes an image off the surface that clean images lie on, to where neighbours lie all around. Instead of a
regression on known attacks the layers' log dimensionalities are compared with clean images' own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from radproof.detectors.kin import firsts, kin
from radproof.detectors.layered import chosen, gathered, packed, unpacked
from radproof.detectors.look import Look
from radproof.detectors.registry import Judge, Learner, detector
from radproof.detectors.usual import Usual
from radproof.errors import BadInput

_MOST = 200  # images kept to look for neighbours among
_TINY = 1e-12
_FLAT = 1e-6  # the least mean log ratio: neighbours all equally far
_USUAL = "usual."
_WHAT = "lid"


def log_dimensionality(features: Tensor, bank: Tensor, k: int, *, kept_out: Tensor | None = None) -> Tensor:
    """(N, F) among clean features (M, F) -> (N,): log of −1 / mean of log(rᵢ / r_k) over the k nearest.

    `kept_out` (N, M) bool marks what must not count as a neighbour.
    """
    apart = torch.cdist(features, bank, compute_mode="donot_use_mm_for_euclid_dist")
    if kept_out is not None:
        apart = apart.masked_fill(kept_out, torch.inf)
    near = apart.topk(k, dim=1, largest=False).values.clamp_min(_TINY)
    return -(near[:, -1:] / near).log().mean(1).clamp_min(_FLAT).log()


@dataclass(frozen=True)
class FittedLid:
    """Keeps clean features (M, F) by layer, and how dimensionalities usually are. Implements registry.Judge."""

    bank: dict[str, Tensor]
    usual: Usual
    k: int

    def __call__(self, look: Look) -> Tensor:
        """How unusual the dimensionalities are together."""
        return self.usual(self.dimensionalities(look))

    def measures(self, look: Look) -> dict[str, Tensor]:
        """Each layer's dimensionality by itself."""
        words = [f"local dimensionality at layer {name}" for name in self.bank]
        return dict(zip(words, self.usual.each(self.dimensionalities(look)).unbind(1), strict=True))

    def dimensionalities(self, look: Look) -> Tensor:
        """(N, layers) logs. Raises BadInput for a network with other layers."""
        features = chosen(look.seen(), {name: kept.shape[1] for name, kept in self.bank.items()}, _WHAT)
        found = [
            log_dimensionality(x.double(), kept.to(x.device).double(), self.k)
            for x, kept in zip(features, self.bank.values(), strict=True)
        ]
        return torch.stack(found, dim=1)

    def state(self) -> dict[str, Tensor]:
        """The clean features, and what is usual."""
        return {**packed({name: {"bank": kept} for name, kept in self.bank.items()}), **self.usual.state(_USUAL)}


@dataclass(frozen=True)
class Lid:
    """Implements registry.Learner."""

    k: int = 20

    def learn(self, pieces: Sequence[Look]) -> Judge:
        """Raises BadModel where the network shows no layers."""
        features, groups = gathered(pieces, _WHAT), kin(pieces)
        rows = firsts(groups)
        rows = rows[torch.linspace(0, len(rows) - 1, min(len(rows), _MOST)).round().long()]
        kept_out = groups[:, None] == groups[rows]
        bank = {name: layer[rows].float() for name, layer in features.items()}
        k = _neighbours(self.k, len(rows))
        found = [log_dimensionality(x, bank[name].double(), k, kept_out=kept_out) for name, x in features.items()]
        return FittedLid(bank, Usual.of(torch.stack(found, dim=1)), k)

    def restore(self, state: Mapping[str, Tensor]) -> Judge:
        """Read back what `state` gave."""
        usual = Usual.restored(state, _USUAL)
        own = {name: tensor for name, tensor in state.items() if not name.startswith(_USUAL)}
        bank = {name: kept.float() for name, (kept,) in unpacked(own, ("bank",)).items()}
        sizes = {len(kept) if kept.dim() == 2 else 0 for kept in bank.values()}
        if len(bank) != len(usual.mean) or len(sizes) > 1 or min(sizes) < 3:
            raise BadInput(f"a stored lid detector's {len(bank)} layers do not go together; fit it again")
        return FittedLid(bank, usual, _neighbours(self.k, sizes.pop()))


def _neighbours(asked: int, bank: int) -> int:
    """At most half of the images kept: a neighbourhood is not everyone."""
    return max(1, min(asked, (bank - 1) // 2))


@detector(title="Local intrinsic dimensionality", paper="Ma et al., ICLR 2018, arXiv:1801.02613")
def lid(
    k: Annotated[
        int, Field(ge=5, le=100, description="neighbours; at most half of the clean images kept are used")
    ] = 20,
) -> Learner:
    """In how many directions clean images lie around the network's own view of the image, layer by layer."""
    return Lid(k)
