# SPDX-License-Identifier: Apache-2.0
"""Randomised smoothing of a network: its answers to noisy images counted, and what the counts prove.

Cohen, Rosenfeld & Kolter, ICML 2019 (arXiv:1902.02918). Noise is added to the stored grid, before the classifier
resizes anything, and nothing is clipped. Every draw is one call of one image's own generator, so neither the
micro-batch nor the other images change an image's noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from radproof.assess.material import Material
from radproof.assess.result import Certificate, Certified, CertifiedAt
from radproof.assess.sections import CertifyPlan
from radproof.assess.summary import Measurer
from radproof.assess.workspace import Arrays, Workspace
from radproof.core.progress import Progress
from radproof.core.rng import generator
from radproof.core.types import Classifier, Head
from radproof.core.whole import Piece, Stage
from radproof.data.subsets import take
from radproof.errors import BadInput, BadPlan
from radproof.measure.certified import (
    Counts,
    Guarantee,
    certified_at,
    guarantee,
    ladder,
    largest_radius,
    majority,
)

JOB = "certify"  # where counts are kept, an image a file
Told = Callable[[int], object]


class Votes:
    """Counts what a classifier answers to an image in Gaussian noise; the noisy images' buffer is made once."""

    def __init__(self, model: Classifier, sigma: float, *, micro_batch: int | None = None) -> None:
        """Raises BadInput for findings side by side, and for a sigma that is not above 0."""
        if model.head != "softmax":
            raise BadInput(_one_class(model.head))
        if not 0 < sigma < float("inf"):
            raise BadInput(f"sigma must be a number above 0, in [0, 1] pixel units; got {sigma}")
        self.model, self.sigma = model, sigma
        self.micro_batch = micro_batch or model.micro_batch
        self._noisy = torch.empty(0)

    @torch.no_grad()
    def __call__(self, x: Tensor, draws: Sequence[int], *, rng: Generator, told: Told | None = None) -> list[Counts]:
        """Counts (K,) of the answers to image x (C, H, W), for each of several independent sets of so many draws.

        The sets come one after another from `rng`, on x's device; passes are filled across their borders. `told` hears
        of every pass how many draws it did.
        """
        if x.dim() != 3 or min(draws, default=0) < 1:
            raise BadInput(f"expected one image (C, H, W) and at least 1 draw, got {tuple(x.shape)} and {list(draws)}")
        total = sum(draws)
        answers = torch.empty(total, dtype=torch.int64, device=x.device)
        for start in range(0, total, self.micro_batch):
            noisy = self.noisy(x, min(self.micro_batch, total - start), rng=rng)
            answers[start : start + len(noisy)] = self.model(noisy).argmax(1)
            if told is not None:
                told(len(noisy))
        sets = np.split(answers.cpu().numpy(), np.cumsum(draws)[:-1])
        return [np.bincount(one, minlength=len(self.model.labels)) for one in sets]

    def noisy(self, x: Tensor, copies: int, *, rng: Generator) -> Tensor:
        """(copies, C, H, W): image x with noise, in the buffer that the next call writes over."""
        shape = (self.micro_batch, *x.shape)
        if self._noisy.shape != shape or self._noisy.device != x.device:
            self._noisy = torch.empty(shape, device=x.device)
        piece = self._noisy[:copies]
        for one in piece:
            one.normal_(0.0, self.sigma, generator=rng)
        return piece.add_(x)


def predict(model: Classifier, x: Tensor, sigma: float, n: int, alpha: float, *, rng: Generator) -> int | None:
    """The smoothed classifier's answer to image x (C, H, W) from n draws; None where it abstains.

    It differs from the smoothed classifier's true answer with probability at most alpha.
    """
    (counts,) = Votes(model, sigma)(x, (n,), rng=rng)
    return majority(counts, alpha)


def certify(model: Classifier, x: Tensor, sigma: float, n0: int, n: int, alpha: float, *, rng: Generator) -> Guarantee:
    """The answer to image x (C, H, W) with the L2 radius within which it is proved to stay, in [0, 1] pixel units.

    n0 draws select the class and n others estimate its probability; wrong with probability at most alpha.
    """
    selection, estimation = Votes(model, sigma)(x, (n0, n), rng=rng)
    return guarantee(selection, estimation, sigma, alpha)


@dataclass(frozen=True)
class Clipped:
    """A classifier that takes any numbers as pixels: a defence in front of it takes those in [0, 1] alone.

    Clipping here is part of the classifier that is smoothed, so the noise itself stays Gaussian.
    """

    model: Classifier

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's classes."""
        return self.model.labels

    @property
    def head(self) -> Head:
        """The model's head."""
        return self.model.head

    @property
    def micro_batch(self) -> int:
        """The model's images per pass."""
        return self.model.micro_batch

    def __call__(self, x: Tensor, /) -> Tensor:
        """Logits of the images, clipped."""
        return self.model(x.clamp(0, 1))


def run_certify(material: Material, space: Workspace, progress: Progress) -> None:
    """Count the answers for every image that the plan asks for; finished images are not counted again."""
    wanted, model = material.plan.certify, smoothed(material)
    if wanted is None or model is None:
        return
    rows = _rows(material, wanted)
    votes = Votes(model, wanted.sigma)
    draws = (wanted.n0, wanted.n)
    todo = [row for row in rows if not space.has(JOB, row)]
    progress.start("certify", len(todo) * sum(draws))
    for row in todo:
        space.save(JOB, row, _count(material, votes, row, draws, lambda done: progress.advance("certify", done)))


def outline(material: Material, space: Workspace) -> Stage:
    """The same work, counted in passes."""
    wanted, counts = material.plan.certify, [0.0, 0.0]
    for row in _rows(material, wanted) if wanted else ():
        counts[space.has(JOB, row)] += wanted.n0 + wanted.n if wanted else 0
    return Stage("certify", (Piece("certify", *counts),))


def certified(material: Material, space: Workspace, measurer: Measurer) -> Certified | None:
    """Certified accuracy against radius, abstentions, and each image's certificate."""
    wanted = material.plan.certify
    if wanted is None:
        return None
    rows = np.array(_rows(material, wanted), np.int64)
    stored = [space.load(JOB, int(row)) for row in rows]
    proofs = [guarantee(a["selection"], a["estimation"], wanted.sigma, wanted.alpha) for a in stored]
    said = [majority(a["estimation"], wanted.alpha) for a in stored]
    truth = measurer.truth(rows)
    right = np.array([proof.answer == y for proof, y in zip(proofs, truth, strict=True)])
    proved = np.array([proof.radius for proof in proofs])
    cap = largest_radius(wanted.sigma, wanted.n, wanted.alpha)
    radii = wanted.radii or ladder(wanted.sigma, cap)
    mean = measurer.resampler(rows).mean
    return Certified(
        network=wanted.network,
        sigma=wanted.sigma,
        n0=wanted.n0,
        n=wanted.n,
        alpha=wanted.alpha,
        cap=cap,
        values=max(int(a["values"]) for a in stored),
        images=len(rows),
        plain=mean(np.array([int(a["plain"]) for a in stored]) == truth),
        accuracy=mean(np.array([answer == y for answer, y in zip(said, truth, strict=True)])),
        abstained=mean(np.array([proof.answer is None for proof in proofs])),
        curve=tuple(
            CertifiedAt(radius=at, accuracy=mean(kept))
            for at, kept in zip(radii, certified_at(radii, right, proved), strict=True)
        ),
        average_radius=mean(np.where(right, proved, 0.0), proportion=False),
        certificates=tuple(
            _certificate(material, int(row), proof, answer)
            for row, proof, answer in zip(rows, proofs, said, strict=True)
        ),
    )


def smoothed(material: Material) -> Classifier | None:
    """The network that the plan wants to be smoothed. Raises BadPlan for one that cannot be."""
    wanted = material.plan.certify
    if wanted is None:
        return None
    if material.manifest.head != "softmax":
        raise BadPlan(_one_class(material.manifest.head))
    if wanted.network == "model":
        return material.model
    contender = material.contenders[wanted.network]
    if contender.random:
        raise BadPlan(
            f"certify: {wanted.network} answers at random, and its draws depend on the images beside it; smoothing "
            "brings its own noise, so certify the network without its random defence"
        )
    return contender.network if contender.defense is None else Clipped(contender.answering(material.plan.seed))


def _one_class(head: Head) -> str:
    return (
        f"certificates are about one class per image, and this model answers findings side by side ({head} head); "
        "leave out certify"
    )


def _rows(material: Material, wanted: CertifyPlan) -> list[int]:
    """Test images, in the classes' proportions where not all are wanted."""
    if wanted.images is None:
        return list(range(len(material.test)))
    place = {sample.id: row for row, sample in enumerate(material.test.samples)}
    chosen = take(material.test, wanted.images, seed=material.plan.data.seed)
    return sorted(place[sample.id] for sample in chosen.samples)


def _count(material: Material, votes: Votes, row: int, draws: tuple[int, int], told: Told) -> Arrays:
    (x,) = material.images([row])
    rng = generator(material.plan.seed, JOB, material.test.samples[row].id, device=x.device)
    selection, estimation = votes(x, draws, rng=rng, told=told)
    with torch.no_grad():
        plain = votes.model(x[None]).argmax(1)
    return {
        "selection": selection,
        "estimation": estimation,
        "plain": plain[0].cpu().numpy(),
        "values": np.array(x.numel()),
    }


def _certificate(material: Material, row: int, proof: Guarantee, said: int | None) -> Certificate:
    labels, sample = material.manifest.labels, material.test.samples[row]

    def name(answer: int | None) -> str | None:
        return None if answer is None else labels[answer]

    return Certificate(
        sample=sample.id,
        truth="|".join(sample.labels),
        selected=labels[proof.selected],
        hits=proof.hits,
        p_low=proof.p_low,
        answer=name(proof.answer),
        radius=proof.radius,
        predicted=name(said),
    )
