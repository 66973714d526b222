# SPDX-License-Identifier: Apache-2.0
"""Light checks before any assessment: a model that fails one would make every later number mean something else.

What cannot be used is refused; what can be used but not believed becomes a Doubt beside the numbers. The list follows
AutoAttack's checks (Croce & Hein, ICML 2020) and the complaints of users of attack libraries.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radproof.core.records import Doubt
from radproof.core.types import Classifier, Head
from radproof.errors import BadModel
from radproof.models.predict import Predictor

_MOST = 8  # images looked at
_CLOSE = 1e-3  # of the logits' spread, what arithmetic in another order may change


def preflight(model: Classifier, x: Tensor, y: Tensor, labels: Sequence[str], head: Head) -> tuple[Doubt, ...]:
    """Check a classifier on a few labelled images x (N, C, H, W), y (N,) or (N, K), before anything is measured.

    labels and head are those of the data. Raises BadModel where answers do not have the shape (N, K), the classes are
    not the data's, or the answers are NaN; returns a Doubt for each reason not to believe what will be measured.
    """
    if tuple(model.labels) != tuple(labels) or model.head != head:
        raise BadModel(
            f"the model answers {', '.join(model.labels)} ({model.head}), the data are labelled "
            f"{', '.join(labels)} ({head}); choose the same classes in the same order"
        )
    x, y = x[:_MOST].detach(), y[:_MOST]
    with torch.no_grad():
        logits = model(x)
        _usable(logits, (len(x), len(labels)))
        again = model(x)
        alone = torch.cat([model(image) for image in x.split(1)])
    checks: list[Callable[[], Iterator[str]]] = [
        lambda: _training_mode(model),
        lambda: _probabilities(logits, head),
        lambda: _random(logits, again),
        lambda: _batch(logits, alone, again),
        lambda: _constant(logits),
        lambda: _gradient(model, x, y, head),
    ]
    kinds = ("training-mode", "probabilities", "random-answers", "batch-dependence", "constant-answers")
    return tuple(
        Doubt(kind=kind, about="all", message=message)
        for kind, check in zip((*kinds, "gradient-masking"), checks, strict=True)
        for message in check()
    )


def _usable(logits: Tensor, shape: tuple[int, int]) -> None:
    if tuple(logits.shape) != shape:
        raise BadModel(f"the model's answer has shape {tuple(logits.shape)}, expected {shape}: images by classes")
    if not bool(logits.isfinite().all()):
        bad = int((~logits.isfinite()).any(1).sum())
        raise BadModel(f"NaN logits or infinite ones for {bad} of {len(logits)} images; check weights, mean and std")


def _training_mode(model: Classifier) -> Iterator[str]:
    if isinstance(model, nn.Module) and model.training:
        yield "The model is in training mode: dropout and batch statistics change its answers; call freeze() on it."


def _probabilities(logits: Tensor, head: Head) -> Iterator[str]:
    within = bool(((logits >= 0) & (logits <= 1)).all())
    sums = bool((logits.sum(1) - 1).abs().max() < 1e-4)
    if within and (sums or head == "sigmoid"):
        yield (
            "The model's answers look like probabilities, not logits: gradients vanish where it is sure, so attacks "
            "look weaker than they are."
        )


def _random(logits: Tensor, again: Tensor) -> Iterator[str]:
    apart = float((logits - again).abs().max())
    if apart > 0:
        yield f"Two passes over the same images differ by up to {apart:.2g}: one answer says little about the next."


def _batch(logits: Tensor, alone: Tensor, again: Tensor) -> Iterator[str]:
    spread = float(logits.abs().max())
    apart = float((logits - alone).abs().max())
    # What differs by chance between two equal passes is no effect of the batch.
    if apart > max(_CLOSE * spread, 2 * float((logits - again).abs().max())):
        yield f"An image's answer changes by up to {apart:.2g} with the other images in its batch."


def _constant(logits: Tensor) -> Iterator[str]:
    if len(logits) > 1 and float((logits - logits[:1]).abs().max()) <= 1e-6 * float(logits.abs().max()):
        yield f"The model gives the same answer to {len(logits)} different images."


def _gradient(model: Classifier, x: Tensor, y: Tensor, head: Head) -> Iterator[str]:
    if isinstance(model, Predictor):
        return  # it says itself that it only answers
    with torch.enable_grad():
        pixels = x.clone().requires_grad_()
        logits = model(pixels)
        if not logits.requires_grad:
            yield "The model's answer has no gradient: attacks that climb one cannot be trusted to fail."
            return
        loss = F.cross_entropy if head == "softmax" else F.binary_cross_entropy_with_logits
        truth = y.long() if head == "softmax" else y.to(logits.dtype)
        climbed = loss(logits, truth, reduction="sum")
        found = torch.autograd.grad(climbed, pixels, allow_unused=True)
    (gradient,) = cast("tuple[Tensor | None]", found)
    if gradient is None:
        yield "The model's answer does not depend on the pixels as far as gradients can tell."
        return
    size = gradient.flatten(1).abs().sum(1)
    if not bool(size.isfinite().all()):
        yield f"The gradient is NaN or infinite for {int((~size.isfinite()).sum())} of {len(x)} images."
    elif bool((size == 0).any()):
        yield f"The gradient is exactly zero for {int((size == 0).sum())} of {len(x)} images: it may be masked."
