# SPDX-License-Identifier: Apache-2.0
"""What answers in the model's place: a defence in front of it, another network, or both.

Every contender answers the images that were made on the bare model, and is then attacked itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from radproof.assess.parts import Settled
from radproof.core.types import Backward, Classifier, Defense
from radproof.defenses.compose import Composed
from radproof.defenses.defended import Defended
from radproof.defenses.denoiser import Denoiser
from radproof.models.predict import Predictor


@dataclass(frozen=True)
class Contender:
    """A network with, perhaps, a defence in front; `steps` tell of the defence in an image's chain."""

    network: Classifier
    fingerprint: str
    architecture: str
    defense: Defense | None = None
    steps: tuple[Mapping[str, Any], ...] = ()

    @property
    def climbable(self) -> bool:
        """Whether the network has a gradient; one that only answers has none."""
        return not isinstance(self.network, Predictor)

    @property
    def ways(self) -> tuple[Backward, ...]:
        """The backward passes that an adaptive attacker tries; none: the network's own gradient."""
        return self.defense.ways if self.defense else ("none",)

    @property
    def random(self) -> bool:
        """Whether it may answer the same image differently."""
        return self.defense is not None and not self.defense.deterministic

    @property
    def votes(self) -> int:
        """Passes of the defence for each answer; 0 without one."""
        return self.defense.votes if self.defense else 0

    def answering(self, seed: int) -> Classifier:
        """As it is scored: a random defence answers by the mean over its votes."""
        if self.defense is None:
            return self.network
        return Defended(self.network, self.defense, seed=seed, eot=self.defense.votes)

    def attacked(self, backward: Backward, *, seed: int, eot: int) -> Classifier:
        """As it is attacked: with a substitute for the defence's backward pass, over `eot` draws where it is random."""
        if self.defense is None:
            return self.network
        return Defended(self.network, self.defense, backward=backward, seed=seed, eot=eot)


Front = tuple[Defense | None, tuple[Mapping[str, Any], ...]]


def in_front(parts: Mapping[str, Settled[Defense]], denoiser: Denoiser | None = None) -> Front:
    """Input transformations in order, a trained denoiser last, as one defence, and how a chain tells of them."""
    made = tuple(part.make() for part in parts.values())
    steps = tuple({"step": "defense", "name": p.recipe.name, "params": p.params} for p in parts.values())
    if denoiser is not None:
        made = (*made, denoiser)
        steps = (
            *steps,
            {"step": "defense", "name": "denoiser", "params": {"fingerprint": denoiser.card.weights_sha256}},
        )
    return (made[0] if len(made) == 1 else Composed(made) if made else None), steps
