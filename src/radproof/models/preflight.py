# SPDX-License-Identifier: Apache-2.0
"""Light checks before any assessment: a model that fails one would make every later number mean something else.

What cannot be used is refused; what can be used but not believed becomes a Doubt beside the numbers. The list follows
AutoAttack's checks (Croce & Hein, ICML 2020) and the complaints of users of attack libraries.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radproof.core.records import Doubt
from radproof.core.types import Classifier, Head
from radproof.errors import BadModel, RadproofError
from radproof.models.predict import Predictor

_MOST = 8  # images looked at
_NOISE = 1 / 255
_ORDER = 1e-6  # of the logits' spread, what a graphics card's sums in another order may change
_WHOLE = 2e-2  # what rounding to eight bits may take from a sum of probabilities
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
        logits = _usable(_asked(model, x), (len(x), len(labels)))
        again = model(x)
        alone = _alone(model, x)
        remembered = _remembered(model, x)
        moved = model((x + _NOISE * _signs(x)).clamp(0, 1))
    checks: list[Callable[[], Iterator[str]]] = [
        lambda: _training_mode(model),
        lambda: _probabilities(logits, head),
        lambda: _random(logits, again, remembered),
        lambda: _stateful(logits, remembered),
        lambda: _batch(logits, alone, again),
        lambda: _constant(logits),
        lambda: chain(_gradient(model, x, y, head), _steps(model, logits, moved)),
    ]
    kinds = ("training-mode", "probabilities", "random-answers", "stateful-answers", "batch-dependence")
    return tuple(
        Doubt(kind=kind, about="all", message=message)
        for kind, check in zip((*kinds, "constant-answers", "gradient-masking"), checks, strict=True)
        for message in check()
    )


def _asked(model: Classifier, x: Tensor) -> Tensor:
    """The model's first answer; what it stumbles over is told as its own fault."""
    try:
        answer: Any = model(x)
    except RadproofError:
        raise
    except Exception as error:  # whatever a layer raises of images that it cannot take
        said = " ".join(str(error).split())[:200]
        raise BadModel(
            f"the model breaks off on images of shape {tuple(x.shape)}: {type(error).__name__}: {said}; check its "
            "channels and input size"
        ) from None
    if not isinstance(answer, Tensor):
        held = f" of {', '.join(map(str, cast(dict[Any, Any], answer)))}" if isinstance(answer, Mapping) else ""
        raise BadModel(
            f"the model answers with a {type(answer).__name__}{held[:100]}, expected one tensor of logits; let it "
            "return its logits alone"
        )
    return answer


def _usable(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    if tuple(logits.shape) != shape:
        raise BadModel(f"the model's answer has shape {tuple(logits.shape)}, expected {shape}: images by classes")
    if not logits.is_floating_point():
        raise BadModel(f"the model answers with {logits.dtype}, expected logits; leave its rounding or argmax out")
    if not bool(logits.isfinite().all()):
        bad = int((~logits.isfinite()).any(1).sum())
        raise BadModel(f"NaN logits or infinite ones for {bad} of {len(logits)} images; check weights, mean and std")
    return logits


def _alone(model: Classifier, x: Tensor) -> Tensor | None:
    """The answers to one image at a time; None where the model breaks off on it."""
    try:
        return torch.cat([model(image) for image in x.split(1)])
    except RadproofError:
        raise
    except Exception:  # as batch statistics do of one image
        return None


def _remembered(model: Classifier, x: Tensor) -> Tensor:
    """The answers to the same images after others were answered, several times over: (times, N, K).

    torch's dice fall alike each time, so what differs is not chance.
    """
    others = (x.flip(3), 1 - x, torch.zeros_like(x))
    devices = [x.device] if x.device.type == "cuda" else []
    found: list[Tensor] = []
    with torch.random.fork_rng(devices=devices):
        for turn, other in enumerate(others):
            for _ in range(3):  # in a row, then ever more others: what counts calls cannot keep in step
                torch.manual_seed(0)
                found.append(model(x))
            for _ in range(turn + 1):
                model(other)
    return torch.stack(found)


def _signs(x: Tensor) -> Tensor:
    return torch.randint(0, 2, x.shape, generator=torch.Generator().manual_seed(0)).to(x) * 2 - 1


def _training_mode(model: Classifier) -> Iterator[str]:
    if isinstance(model, nn.Module) and model.training:
        yield "The model is in training mode: dropout and batch statistics change its answers; call freeze() on it."


def _probabilities(logits: Tensor, head: Head) -> Iterator[str]:
    within = bool(((logits >= 0) & (logits <= 1)).all())
    sums = bool((logits.sum(1) - 1).abs().max() < _WHOLE)
    # One answer stands for two classes beside a logit of 0: as a probability it could never speak for the first.
    single = logits.shape[1] == 2 and any(
        not bool(logits[:, at].any()) and bool((logits[:, 1 - at] > 0).all()) for at in (0, 1)
    )
    if within and (sums or head == "sigmoid" or single):
        yield (
            "The model's answers look like probabilities, not logits: gradients vanish where it is sure, so attacks "
            "look weaker than they are."
        )


def _random(logits: Tensor, again: Tensor, remembered: Tensor) -> Iterator[str]:
    apart = float((logits - again).abs().max())
    if apart > 0 and not _spread(remembered):
        yield f"Two passes over the same images differ by up to {apart:.2g}: one answer says little about the next."


def _stateful(logits: Tensor, remembered: Tensor) -> Iterator[str]:
    apart = _spread(remembered)
    if apart > 0:
        yield (
            f"Answers to the same images differ by up to {apart:.2g} after others were answered: they depend on what "
            "was asked before, or on chance beyond torch's."
        )


def _spread(remembered: Tensor) -> float:
    """By how much they differ, if by more than arithmetic in another order does."""
    apart = float((remembered - remembered[:1]).abs().max())
    return apart if apart > _ORDER * float(remembered.abs().max()) else 0.0


def _batch(logits: Tensor, alone: Tensor | None, again: Tensor) -> Iterator[str]:
    if alone is None or alone.shape != logits.shape:
        yield "The model answers several images and breaks off on one alone: it answers for whole batches."
        return
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


def _steps(model: Classifier, logits: Tensor, moved: Tensor) -> Iterator[str]:
    """Answers in steps, whatever gradient is told beside them."""
    same = (logits == moved).all(1)
    if not isinstance(model, Predictor) and bool(same.all()):
        yield (
            f"Noise of one grey level in 255 changes no digit of the answers to {len(same)} images: they come in "
            "steps, so gradients may be masked."
        )
