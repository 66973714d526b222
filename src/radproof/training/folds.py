# SPDX-License-Identifier: Apache-2.0
"""A fold as training wants it: one tensor of images at the network's size, one of targets, checked once."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from radproof.core.types import Head
from radproof.errors import BadData
from radproof.models.classifier import resize


@dataclass(frozen=True)
class Fold:
    """Images (N, C, S, S) float32 in [0, 1], and targets: (N,) int64 classes or (N, K) float32 findings."""

    name: str
    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def digest(self) -> str:
        """sha256 over pixels and targets."""
        found = hashlib.sha256(f"{tuple(self.images.shape)} {tuple(self.targets.shape)}".encode())
        found.update(self.images.numpy().data)
        found.update(self.targets.numpy().data)
        return found.hexdigest()


def gather(
    name: str, images: Sequence[Tensor] | Tensor, targets: Tensor, *, size: int, labels: Sequence[str], head: Head
) -> Fold:
    """Make a fold of images (C, H, W) of any sizes, resized to `size` one by one, antialiased.

    Raises BadData, naming the position, for an image that is no image, and for targets that do not go with the images.
    """
    if len(images) < 2:
        raise BadData(f"the {name} fold holds {len(images)} images; training needs two or more in each fold")
    truth = _targets(name, targets, len(images), len(labels), head)
    channels = max(_channels(name, index, image) for index, image in enumerate(images))
    pixels = torch.empty(len(images), channels, size, size)
    for index, image in enumerate(images):
        pixels[index] = resize(image.float().unsqueeze(0), size)[0]  # one channel fills three
    if not bool(pixels.isfinite().all()):
        index = int((~pixels.isfinite()).flatten(1).any(1).nonzero()[0])
        raise BadData(f"image {index} of the {name} fold holds NaN or infinite pixels; leave it out or repair it")
    return Fold(name, pixels.clamp_(0, 1), truth)


def check_every_class(fold: Fold, labels: Sequence[str], head: Head) -> None:
    """Refuse a training fold that could not teach one of the classes. Raises BadData naming it."""
    if head == "softmax":
        lacking = [label for index, label in enumerate(labels) if not bool((fold.targets == index).any())]
        reason = "shows"
    else:
        shown = fold.targets.sum(0)
        lacking = [label for label, n in zip(labels, shown.tolist(), strict=True) if n in (0, len(fold))]
        reason = "both shows and lacks"
    if lacking:
        raise BadData(
            f"no image of the {fold.name} fold {reason} {', '.join(lacking)}; leave such classes out of the plan, or "
            "add images of them"
        )


def _channels(name: str, index: int, image: Tensor) -> int:
    if image.dim() != 3 or image.shape[0] not in (1, 3) or not image.numel() or not image.is_floating_point():
        raise BadData(
            f"image {index} of the {name} fold is {image.dtype} of shape {tuple(image.shape)}; expected numbers in "
            "[0, 1] of shape (1 or 3, H, W)"
        )
    return image.shape[0]


def _targets(name: str, targets: Tensor, images: int, classes: int, head: Head) -> Tensor:
    expected = (images,) if head == "softmax" else (images, classes)
    if tuple(targets.shape) != expected:
        raise BadData(
            f"the {name} fold has {images} images and targets of shape {tuple(targets.shape)}; a {head} head of "
            f"{classes} classes needs {expected}"
        )
    if head == "softmax":
        if targets.is_floating_point() or int(targets.min()) < 0 or int(targets.max()) >= classes:
            raise BadData(f"targets of the {name} fold must be whole numbers from 0 to {classes - 1}")
        return targets.cpu().long().contiguous()
    if not bool(((targets == 0) | (targets == 1)).all()):
        raise BadData(f"targets of the {name} fold must be 0 or 1 for every finding")
    return targets.cpu().float().contiguous()
