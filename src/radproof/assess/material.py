# SPDX-License-Identifier: Apache-2.0
"""What an assessment works on, opened once: images, models, defences, fitted detectors and what attacks need."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from radproof.assess.aids import Aids
from radproof.assess.contenders import Contender
from radproof.assess.jobs import Parts
from radproof.assess.networks import Network, Surrogate
from radproof.assess.plan import Plan
from radproof.assess.replay import Replay
from radproof.assess.watching import Watching
from radproof.core.depth import Depth
from radproof.core.rng import generator
from radproof.core.types import Attack, Classifier
from radproof.data.load import load_batch
from radproof.data.manifest import Manifest
from radproof.detectors.feature_space import FeatureSpace
from radproof.models.card import ModelCard


@dataclass
class Material:
    """Everything opened. Images are read a batch at a time, so memory does not grow with the data set."""

    plan: Plan
    parts: Parts
    manifest: Manifest  # every fold
    test: Manifest  # the images to assess
    depths: tuple[Depth, ...]  # of each test image; one batch has one depth
    batches: tuple[tuple[int, ...], ...]
    y: Tensor
    device: torch.device
    model: Network
    card: ModelCard
    fingerprint: str  # of the model
    aids: Aids
    surrogates: dict[str, Surrogate] = field(default_factory=dict[str, Surrogate])
    contenders: dict[str, Contender] = field(default_factory=dict[str, Contender])  # what answers in the model's place
    detectors: dict[str, Watching] = field(default_factory=dict[str, Watching])
    features: FeatureSpace | None = None  # of clean images, for an attack that stays among them
    training: dict[str, object] | None = None
    learned: dict[str, Attack] = field(default_factory=dict[str, Attack])  # job key -> what was learnt once
    problem: str = ""  # what labelled images say against the model's card
    untaught: str = ""  # why no detector could be taught, where none had to be
    replay: Replay | None = None  # images made earlier, to score instead of attacking

    @property
    def targets(self) -> dict[str, Classifier]:
        """The networks of the transfer matrix that images are tried on: the model and every single surrogate."""
        single = {name: s.classifier for name, s in self.surrogates.items() if self.plan.surrogates[name].of is None}
        return {"model": self.model, **single} if self.surrogates else {}

    def first_batches(self, images: int | None) -> range:
        """The whole batches that hold the first so many test images; None: all."""
        total = 0
        for number, batch in enumerate(self.batches):
            total += len(batch)
            if images is not None and total >= images:
                return range(number + 1)
        return range(len(self.batches))

    def watched(self, detector: str) -> set[int]:
        """The test images that aware attacks are made of; none where the detector promises nothing to be under."""
        if self.detectors[detector].watch is None:
            return set()
        return {row for n in self.first_batches(self.plan.detection.aware_images) for row in self.batches[n]}

    def images(self, rows: Sequence[int]) -> Tensor:
        """(N, C, H, W) stored images of one batch, on the device."""
        return load_batch(self.test, [self.test.samples[row] for row in rows], self.device)


def batch_generator(material: Material, *parts: object) -> torch.Generator:
    """The generator of one batch, seeded by the plan and the parts that name the batch."""
    return generator(material.plan.seed, *parts, device=material.device)
