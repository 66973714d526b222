# SPDX-License-Identifier: Apache-2.0
"""What attacks need beside the images to attack: others to mix with, to borrow a style from, to learn on; anatomy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from radproof.assess.parts import Settled
from radproof.attacks.pool import Pool
from radproof.core.types import Attack
from radproof.data.load import load_batch
from radproof.data.manifest import Manifest
from radproof.data.phantoms_on_disk import organs
from radproof.data.subsets import take
from radproof.errors import BadPlan

AIDS = 64  # training images at hand


@dataclass(frozen=True)
class Aids:
    """Training images of the shape of those to attack, and where lungs and heart of the latter are."""

    pool: Pool
    test: Manifest

    def bindings(self, needs: Mapping[str, str], rows: Sequence[int], **more: object) -> dict[str, object]:
        """What a recipe's needs (argument -> what) are bound to, for these test images; `more` is offered as well.

        Raises BadPlan for a need that nobody can supply.
        """
        offered: dict[str, object] = {"pool": self.pool, "bank": self.pool.images, "anatomy": None, **more}
        if "anatomy" in needs.values():
            offered["anatomy"] = self._anatomy(rows)
        for argument, what in needs.items():
            if what in ("watch", "features") and what not in offered:
                raise BadPlan("an attack that knows the detector needs one; name it under detection: aware: instead")
            if what not in offered:
                raise BadPlan(f"an attack needs {what!r} for {argument!r}; what can be had is {', '.join(offered)}")
        return {argument: offered[what] for argument, what in needs.items()}

    def _anatomy(self, rows: Sequence[int]) -> Tensor | None:
        """(N, 1, H, W): 1 where lungs and heart are, exactly; None where that is not known: on all but phantoms."""
        known = [organs(self.test.samples[row]) for row in rows]
        masks = [torch.from_numpy(mask)[None] for mask in known if mask is not None]
        return torch.stack(masks).to(self.pool.images.device) if len(masks) == len(rows) else None


def gather(manifest: Manifest, test: Manifest, *, seed: int, device: torch.device) -> Aids:
    """Some training images, drawn by the seed: never test images where there are others."""
    some = _some(manifest, "train", AIDS, seed)
    shape = load_batch(test, test.samples[:1], device).shape
    return Aids(Pool(_alike(some, shape, device), torch.as_tensor(some.targets()).to(device)), test)


def check_builds(parts: Iterable[Settled[Attack]], aids: Aids, **more: object) -> None:
    """Build every attack once, so that what is missing or does not fit is told before anything is trained."""
    for part in parts:
        part.make(**aids.bindings(part.recipe.needs, [0], **more))


def _alike(manifest: Manifest, shape: torch.Size, device: torch.device) -> Tensor:
    """Images of a manifest resampled to one (C, H, W) shape: aids, never scored themselves."""
    rows: list[Tensor] = []
    for sample in manifest.samples:
        x = load_batch(manifest, [sample], device)
        if x.shape[1] != shape[1]:
            x = x.mean(1, keepdim=True).expand(-1, shape[1], -1, -1)
        if x.shape[2:] != shape[2:]:
            x = F.interpolate(x, size=shape[2:], mode="bilinear", antialias=True).clamp(0, 1)
        rows.append(x)
    return torch.cat(rows)


def _some(manifest: Manifest, fold: str, most: int, seed: int) -> Manifest:
    """A seeded part of a fold; other folds stand in where a data set has only test images."""
    there = {sample.fold for sample in manifest.samples}
    chosen = next(name for name in (fold, "validation", "test") if name in there)
    return take(manifest.fold(chosen), most, seed=seed)
