# SPDX-License-Identifier: Apache-2.0
"""Rare classes made up for: weights in the loss, or rare images drawn more often.

King & Zeng, "Logistic Regression in Rare Events Data", Political Analysis 2001: weights inverse to frequency.
"""

import torch
from torch import Generator, Tensor

from radproof.core.types import Head


def class_weights(targets: Tensor, classes: int, head: Head) -> Tensor:
    """(K,) float32: images / (K x images of the class), averaging 1 over images; or negatives / positives per finding.

    Every class must be shown (and every finding also be absent) at least once.
    """
    if head == "sigmoid":
        positives = targets.sum(0)
        return (len(targets) - positives) / positives
    return len(targets) / (classes * torch.bincount(targets, minlength=classes).float())


def image_weights(targets: Tensor, head: Head) -> Tensor:
    """(N,) how often each image is to be drawn, relative to others: inverse to the images like it.

    With findings side by side, an image counts as its rarest finding; images without any are a class of their own.
    """
    if head == "softmax":
        return 1 / torch.bincount(targets)[targets].float()
    rarity = targets / targets.sum(0).clamp_min(1)
    bare = (targets.sum(1) == 0).float()
    return torch.maximum(rarity.amax(1), bare / bare.sum().clamp_min(1))


def order(targets: Tensor, head: Head, *, sampling: bool, rng: Generator) -> Tensor:
    """(N,) the images of one epoch in turn: each once, or drawn with replacement so that classes come equally often."""
    if not sampling:
        return torch.randperm(len(targets), generator=rng)
    return torch.multinomial(image_weights(targets, head), len(targets), replacement=True, generator=rng)


def batches(rows: Tensor, size: int) -> tuple[Tensor, ...]:
    """Cut an epoch into batches of at most `size`, as even as can be: batch statistics need more than one image."""
    return rows.tensor_split(steps_in(len(rows), size))


def steps_in(images: int, size: int) -> int:
    """Batches in an epoch."""
    return -(-images // size)
