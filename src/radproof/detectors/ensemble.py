# SPDX-License-Identifier: Apache-2.0
"""Several detectors as one: each says how unusual the image is in its own spreads, and the voices are put together.

Members learn from four fifths of the clean images; the rest, which none has seen, tells how each one's scores lie and
spread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from radproof.detectors.common import take
from radproof.detectors.kin import folds, kin
from radproof.detectors.look import Look
from radproof.detectors.registry import Judge, Learner, detector
from radproof.detectors.usual import middle
from radproof.errors import BadInput

MEMBERS = ("drift", "mahalanobis", "consistency", "lid")
_HELD_OUT = 5  # one in so many images
_LEAST = 1e-6
_VOICES = "voices"


@dataclass(frozen=True)
class FittedEnsemble:
    """Implements registry.Judge: members by name, and where their scores lie and how they spread (M, 2)."""

    members: Mapping[str, Judge]
    voices: Tensor

    def __call__(self, look: Look) -> Tensor:
        """The mean of the members' scores in their own spreads."""
        return self.each(look).mean(1)

    def each(self, look: Look) -> Tensor:
        """(N, M): every member's score in its own spreads."""
        scores = torch.stack([judge(look).double() for judge in self.members.values()], dim=1)
        centre, spread = self.voices.to(scores).unbind(1)
        return (scores - centre) / spread

    def measures(self, look: Look) -> dict[str, Tensor]:
        """Everything that the members measure; what two of them tell alike stands once, at its loudest."""
        found: dict[str, Tensor] = {}
        for judge in self.members.values():
            for words, value in judge.measures(look).items():
                found[words] = torch.maximum(found[words], value) if words in found else value
        return found

    def state(self) -> dict[str, Tensor]:
        """Every member's, under its name."""
        told = {f"{name}:{key}": value for name, judge in self.members.items() for key, value in judge.state().items()}
        return {_VOICES: self.voices, **told}


@dataclass(frozen=True)
class Ensemble:
    """Implements registry.Learner."""

    members: Mapping[str, Learner]

    def learn(self, pieces: Sequence[Look]) -> FittedEnsemble:
        """Raises BadModel where a member cannot look at this model."""
        out = (folds(kin(pieces), _HELD_OUT) == 0).split([len(piece) for piece in pieces])
        taught = [piece.only((~away).nonzero().flatten()) for piece, away in zip(pieces, out, strict=True)]
        rest = [piece.only(away.nonzero().flatten()) for piece, away in zip(pieces, out, strict=True)]
        found = {name: one.learn([piece for piece in taught if len(piece)]) for name, one in self.members.items()}
        judged = [piece for piece in rest if len(piece) and piece.change == "clean"]
        scores = [torch.cat([judge(piece).double().cpu() for piece in judged]) for judge in found.values()]
        centre, spread = middle(torch.stack(scores, dim=1))
        return FittedEnsemble(found, torch.stack([centre, spread.clamp_min(_LEAST)], dim=1))

    def restore(self, state: Mapping[str, Tensor]) -> FittedEnsemble:
        """Raises BadInput for other members' states."""
        (voices,) = take({_VOICES: state[_VOICES]} if _VOICES in state else {}, (_VOICES,))
        known = {name.partition(":")[0] for name in state if name != _VOICES}
        if known != set(self.members) or voices.shape != (len(self.members), 2):
            raise BadInput(
                f"the stored ensemble is of {', '.join(sorted(known))}, this one of {', '.join(self.members)}; "
                "fit it again"
            )
        return FittedEnsemble({name: one.restore(_own(state, name)) for name, one in self.members.items()}, voices)


def _own(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}:"): value for key, value in state.items() if key.startswith(f"{name}:")}


@detector(title="Ensemble of detectors", paper="")
def ensemble(
    members: Annotated[
        tuple[str, ...], Field(min_length=2, description="Detectors by name, each with its own defaults.")
    ] = MEMBERS,
) -> Learner:
    """Several detectors as one: the mean of their scores, each in spreads of clean images' scores."""
    twice = {name for name in members if members.count(name) > 1} | {name for name in members if name == "ensemble"}
    if twice:
        raise BadInput(f"an ensemble is of different detectors, and not of itself; got {', '.join(members)}")
    return Ensemble({name: detector[name].make({}) for name in members})
