# SPDX-License-Identifier: Apache-2.0
"""How the network's own layers move when the image is squeezed: what the answer alone no longer shows.

Feature squeezing (Xu et al., NDSS 2018) compares answers, and an attack with a wide margin answers alike through every
squeezer. Inside the network it does not: squeezing takes away part of what the attacker added, and the channel means of
the middle stages move in directions in which those of honest images never do. So each squeezer's change of each middle
layer, and the layers and logits themselves, are judged as Mahalanobis detectors judge layers (Lee et al., NeurIPS
2018): one-class, shrunk covariance, both sides. Since the contents of the image are the same on both sides of a
difference, they cancel, and what is left is small enough for one grey level to stand out.

White noise moves layers too, and more alike from image to image. Where the clean images come with noisy copies, these
are learnt as a second usual, and an image is as unusual as the nearer of the two says.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Self

import torch
from torch import Tensor

from radproof.core.rng import generator
from radproof.detectors.common import FEWEST_IMAGES
from radproof.detectors.kin import folds, kin
from radproof.detectors.look import Look
from radproof.detectors.registry import Learner, detector
from radproof.detectors.squeezers import WORDS, squeezers
from radproof.detectors.usual import Usual, middle
from radproof.errors import BadInput
from radproof.models.layers import Seen, require_layers

WIDEST = 256  # channels; wider layers are projected to so many, at random but always alike
NOISE = "noise"
HEADS = ("features", "hidden")  # layers that are no stages


@dataclass(frozen=True)
class Side:
    """One view's one layer: what is usual of it, in one or two populations, and how its scores spread."""

    usuals: tuple[Usual, ...]
    medians: tuple[float, ...]  # of each population's own scores
    centre: float
    spread: float

    @classmethod
    def of(cls, tables: Sequence[Tensor], halves: Sequence[Tensor]) -> Self:
        """Learnt from one table (N, F) for each population; the first is the clean one. Halves: (N,) of 0 and 1."""
        usuals = tuple(Usual.of(table) for table in tables)
        medians = tuple(float(u(t.double()).median()) for u, t in zip(usuals, tables, strict=True))
        centre, spread = middle(_crossed([table.double() for table in tables], halves)[:, None])
        return cls(usuals, medians, float(centre), max(float(spread), 1e-6))

    def __call__(self, table: Tensor) -> Tensor:
        """(N, F) -> (N,): spreads from the usual, of the population that it fits best."""
        return (_nearest(self.usuals, self.medians, table) - self.centre) / self.spread

    def state(self, prefix: str) -> dict[str, Tensor]:
        """Everything as float32."""
        told = {f"{prefix}told": torch.tensor([*self.medians, self.centre, self.spread], dtype=torch.float64)}
        for number, usual in enumerate(self.usuals):
            told |= {name: value.float() for name, value in usual.state(f"{prefix}{number}.").items()}
        return told

    @classmethod
    def restored(cls, state: Mapping[str, Tensor], prefix: str) -> Self:
        """Read back."""
        told = state[f"{prefix}told"].double().tolist()
        usuals = tuple(Usual.restored(state, f"{prefix}{number}.") for number in range(len(told) - 2))
        return cls(usuals, tuple(told[:-2]), told[-2], told[-1])


@dataclass(frozen=True)
class DriftJudge:
    """Implements registry.Judge. Sides by view ("" is the image itself) and layer."""

    sides: Mapping[tuple[str, str], Side]

    def __call__(self, look: Look) -> Tensor:
        """The mean over views and layers."""
        return torch.stack(list(self._each(look).values()), dim=1).mean(1)

    def measures(self, look: Look) -> dict[str, Tensor]:
        """By squeezer, the mean over layers."""
        each = self._each(look)
        found: dict[str, Tensor] = {}
        for view in dict.fromkeys(view for view, _ in each):
            own = [value for (name, _), value in each.items() if name == view]
            moved = f"how the network's layers move under {WORDS[view]}" if view else "the network's middle layers"
            found[moved] = torch.stack(own).mean(0)
        return found

    def state(self) -> dict[str, Tensor]:
        """All sides."""
        found: dict[str, Tensor] = {}
        for (view, layer), side in self.sides.items():
            found |= side.state(f"{view or 'plain'}/{layer}/")
        return found

    def _each(self, look: Look) -> dict[tuple[str, str], Tensor]:
        found: dict[tuple[str, str], Tensor] = {}
        for key, side in self.sides.items():
            table = moved(look, *key)
            if table.shape[1] != len(side.usuals[0].mean):
                raise BadInput(
                    f"the stored detector knows a layer {key[1]} of {len(side.usuals[0].mean)} numbers, this network's "
                    f"has {table.shape[1]}; fit a detector with this network"
                )
            found[key] = side(table)
        return found


@dataclass(frozen=True)
class Drift:
    """Seven passes through the model per image, nothing trained. Implements registry.Learner."""

    def learn(self, pieces: Sequence[Look]) -> DriftJudge:
        """Noisy looks are a population of their own, if there are enough of them. Raises BadModel without layers."""
        require_layers(pieces[0].seen(), "drift")
        noisy = [piece for piece in pieces if piece.change == NOISE]
        others = [piece for piece in pieces if piece.change != NOISE]
        apart = sum(map(len, noisy)) >= FEWEST_IMAGES
        populations = (others, noisy) if apart else (pieces,)
        halves = _halves(populations)
        sides: dict[tuple[str, str], Side] = {}
        for view in ("", *squeezers()):
            for layer in (*middle_layers(pieces[0].seen()), "logits"):
                tables = [torch.cat([moved(piece, view, layer) for piece in some]).cpu() for some in populations]
                sides[view, layer] = Side.of(tables, halves)
        return DriftJudge(dict(sorted(sides.items())))  # in one order, so that sums round alike when read back

    def restore(self, state: Mapping[str, Tensor]) -> DriftJudge:
        """Raises BadInput for another detector's state."""
        sides: dict[tuple[str, str], Side] = {}
        for name in state:
            view, _, rest = name.partition("/")
            layer, _, what = rest.rpartition("/")
            if what == "told":
                key = ("" if view == "plain" else view, layer)
                sides[key] = Side.restored(state, f"{view}/{layer}/")
        if not sides or {view for view, _ in sides} != {"", *squeezers()}:
            raise BadInput("the stored state is not drift's, or of another version; fit this detector again")
        return DriftJudge(dict(sorted(sides.items())))


def _halves(populations: Sequence[Sequence[Look]]) -> list[Tensor]:
    """By population, (N,) 0 or 1: copies of one image are in the same half."""
    half = folds(kin([piece for some in populations for piece in some]), 2)
    return list(half.split([sum(map(len, some)) for some in populations]))


def middle_layers(seen: Seen) -> tuple[str, ...]:
    """The stages after two fifths of the depth, but for the last: deep enough to mean something, not yet the answer."""
    stages = [name for name in seen.layers if name not in HEADS]
    return tuple(stages[math.ceil(0.4 * len(stages)) : -1] or stages[-1:])


def moved(look: Look, view: str, layer: str) -> Tensor:
    """(N, F): a layer of the images themselves, or how it differs through a squeezer."""
    own = _layer(look.seen(), layer)
    return own if not view else _layer(look.seen(view), layer) - own


def _layer(seen: Seen, layer: str) -> Tensor:
    if layer == "logits":
        return seen.logits.double()
    require_layers(seen, "drift")
    if layer not in seen.layers:
        raise BadInput(f"the stored detector looks at a layer {layer}, which this network has not; fit one with it")
    table = seen.layers[layer].double()
    return table if table.shape[1] <= WIDEST else table @ _projection(table.shape[1]).to(table)


@cache
def _projection(width: int) -> Tensor:
    """(width, WIDEST) of ±1: distances stay nearly as they are (Achlioptas, 2003)."""
    signs = torch.randint(0, 2, (width, WIDEST), generator=generator("drift", width), dtype=torch.int8)
    return (signs.double() * 2 - 1) / math.sqrt(WIDEST)


def _nearest(usuals: Sequence[Usual], medians: Sequence[float], table: Tensor) -> Tensor:
    scores = [usual(table) - median for usual, median in zip(usuals, medians, strict=True)]
    return torch.stack(scores).amin(0)


def _crossed(tables: Sequence[Tensor], halves: Sequence[Tensor]) -> Tensor:
    """Scores of clean images by what the other half of the images teaches: nobody is judged by what it taught."""
    found: list[Tensor] = []
    for half in (0, 1):
        parts = [(table[own == half], table[own != half]) for table, own in zip(tables, halves, strict=True)]
        usuals = [Usual.of(taught) for taught, _ in parts]
        medians = [float(usual(judged).median()) for usual, (_, judged) in zip(usuals, parts, strict=True)]
        found.append(_nearest(usuals, medians, parts[0][1]))
    return torch.cat(found)


@detector(title="Drift of layers under squeezing", paper="Xu et al., NDSS 2018; Lee et al., NeurIPS 2018")
def drift() -> Learner:
    """How the network's middle layers and logits move under six harmless views of the image, against clean images."""
    return Drift()
