# SPDX-License-Identifier: Apache-2.0
"""Is this image of the kind that the model's data are? Told from afar, without the model, whatever an attack does.

A network answers for any picture: a photograph, a film upside down, black for white. The coarse picture is projected
onto the principal axes of clean ones (Turk & Pentland, CVPR 1991: how far from the face space, and where in it), also
turned and as its negative: a picture of the kind reads best as it is. Grey levels, symmetry and contrast join in. The
shares of black and white count among the grey levels alone: by themselves they have tails so long in honest films
(collimated, overexposed) that nothing else would be seen above them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from radproof.detectors.channels import require_channels
from radproof.detectors.common import take
from radproof.detectors.kin import folds, kin
from radproof.detectors.kind import COARSE, GREYS, Described, describe, moved, thumbnails
from radproof.detectors.look import Look
from radproof.detectors.registry import detector
from radproof.detectors.usual import Usual
from radproof.errors import BadInput

WORDS = (
    "the coarse picture",
    "the make-up of the coarse picture",
    "likeness to the usual picture",
    "which way is up",
    "black for white",
    "the grey levels",
    "the mix of grey levels",
    "the contrast of large parts",
    "left-right symmetry",
    "the colour",
)
_PICTURE_AXES, _GREY_AXES = 24, 6
_ROWS_PER_AXIS = 4  # fewer axes where fewer images are known
_FOLDS = 5  # clean images are measured by what the others taught
_LEAST = 1e-6
_PARTS = ("mean", "axes", "spread")


@dataclass(frozen=True)
class Plane:
    """Principal axes of clean rows: mean (D,), axes (D, K), spread along them (K,)."""

    mean: Tensor
    axes: Tensor
    spread: Tensor

    @classmethod
    def of(cls, rows: Tensor, most: int) -> Self:
        """Learnt from rows (N, D); at most one axis for every four rows."""
        mean = rows.mean(0)
        _, sizes, axes = torch.linalg.svd(rows - mean, full_matrices=False)
        k = max(1, min(most, len(rows) // _ROWS_PER_AXIS))
        return cls(mean, axes[:k].T.contiguous(), (sizes[:k] / len(rows) ** 0.5).clamp_min(_LEAST))

    def off(self, rows: Tensor) -> Tensor:
        """(N,): log distance from the plane."""
        rows = rows - self.mean
        return (rows - rows @ self.axes @ self.axes.T).square().mean(1).add(1e-4).log() / 2

    def within(self, rows: Tensor) -> Tensor:
        """(N,): log distance from the middle, in the plane."""
        return (((rows - self.mean) @ self.axes) / self.spread).square().mean(1).add(0.05).log() / 2

    def to(self, like: Tensor) -> Self:
        """On another device."""
        return type(self)(self.mean.to(like.device), self.axes.to(like.device), self.spread.to(like.device))


@dataclass(frozen=True)
class Planes:
    """What clean images' coarse pictures and grey levels span."""

    picture: Plane
    greys: Plane

    @classmethod
    def of(cls, clean: Described) -> Self:
        """Learnt from clean images."""
        return cls(Plane.of(clean.picture, _PICTURE_AXES), Plane.of(_rooted(clean.greys), _GREY_AXES))

    def columns(self, what: Described) -> Tensor:
        """(N, 10), in the order of WORDS."""
        picture, greys = self.picture.to(what.picture), self.greys.to(what.greys)
        off, square = picture.off(what.picture), what.picture.unflatten(1, (COARSE, COARSE))
        turned = torch.stack([picture.off(square.rot90(k, (1, 2)).flatten(1)) for k in (1, 2, 3)])
        columns = (
            off,
            picture.within(what.picture),
            (what.picture * picture.mean).mean(1),
            off - turned.amin(0),
            off - picture.off(-what.picture),
            greys.off(_rooted(what.greys)),
            greys.within(_rooted(what.greys)),
            what.contrast,
            (square * square.flip(2)).mean((1, 2)),
            what.colour,
        )
        return torch.stack(columns, 1)


@dataclass(frozen=True)
class NoveltyJudge:
    """Scores by the distance from clean images, over all columns at once. Implements registry.Judge."""

    planes: Planes
    usual: Usual
    channels: int

    def __call__(self, look: Look) -> Tensor:
        """Mahalanobis distance: one column far out is enough."""
        usual, table = self.usual.to(look.x), self._columns(look)
        along = (table - usual.mean) / usual.scale @ usual.turn
        return ((along - usual.centre) / usual.spread).square().sum(1).add(_LEAST).sqrt()

    def measures(self, look: Look) -> dict[str, Tensor]:
        """Each column by itself."""
        return dict(zip(WORDS, self.usual.each(self._columns(look)).unbind(1), strict=True))

    def state(self) -> dict[str, Tensor]:
        """Both planes, what is usual, and the number of channels."""
        planes = {"picture": self.planes.picture, "greys": self.planes.greys}
        parts = {f"{name}.{part}": getattr(plane, part) for name, plane in planes.items() for part in _PARTS}
        return parts | self.usual.state("usual.") | {"channels": torch.tensor([self.channels])}

    def _columns(self, look: Look) -> Tensor:
        require_channels(look.x, self.channels, "novelty")
        return self.planes.columns(describe(thumbnails(look.x)))


@dataclass(frozen=True)
class Novelty:
    """Learns the kind of clean images. Implements registry.Learner."""

    def learn(self, pieces: Sequence[Look]) -> NoveltyJudge:
        """Each fold of the clean images is measured with planes of the others, also shifted as an attack could."""
        thumbs = torch.cat([thumbnails(piece.x).float().cpu() for piece in pieces])
        versions = [describe(version) for version in (thumbs, *moved(thumbs))]
        fold = folds(kin(pieces), _FOLDS)
        table: list[Tensor] = []
        for number in range(int(fold.max()) + 1):
            planes = Planes.of(_joined(versions, fold != number))
            table += [planes.columns(version[fold == number]) for version in versions]
        everything = Planes.of(_joined(versions, fold >= 0))
        return NoveltyJudge(everything, Usual.of(torch.cat(table)), thumbs.shape[1])

    def restore(self, state: Mapping[str, Tensor]) -> NoveltyJudge:
        """Read back what `state` gave."""
        others = {name: tensor for name, tensor in state.items() if not name.startswith("usual.")}
        names = [f"{name}.{part}" for name in ("picture", "greys") for part in _PARTS]
        *planes, channels = take(others, [*names, "channels"])
        picture, greys = Plane(*planes[:3]), Plane(*planes[3:])
        usual = Usual.restored(state, "usual.")
        sizes = (len(picture.mean), len(greys.mean), len(usual.mean))
        if sizes != (COARSE**2, GREYS, len(WORDS)):
            raise BadInput(f"the stored novelty detector has other measurements {sizes}; fit this one again")
        return NoveltyJudge(Planes(picture, greys), usual, int(channels))


def _rooted(greys: Tensor) -> Tensor:
    """Square roots, so that rare levels count as well."""
    return (greys + 0.01).sqrt()


def _joined(versions: Sequence[Described], rows: Tensor) -> Described:
    """Some rows of all versions, one after another."""
    return Described(*(torch.cat(parts) for parts in zip(*(version[rows].parts for version in versions), strict=True)))


@detector(title="Novelty of the coarse picture", paper="Turk & Pentland, CVPR 1991; Ledoit & Wolf, 2004")
def novelty() -> Novelty:
    """Whether the image is of the kind that the model's data are: its coarse picture, its grey levels, its way up."""
    return Novelty()
