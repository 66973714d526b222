# SPDX-License-Identifier: Apache-2.0
"""What networks usually take, tried on labelled images: a wrong guess about range, order or mean shows in the answers.

Most complaints about attack libraries come from inputs prepared twice, or otherwise than in training. So the usual
conventions are tried before anything is attacked, and what the images speak for is proposed as the card.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from radproof.measure.calibration import fit_temperature, losses
from radproof.models.blueprint import Blueprint
from radproof.models.card import ModelCard
from radproof.models.classifier import ImageClassifier, resize

CLEAR = 4.0  # standard errors by which another convention's log-likelihood must be better
HINT = 1.5  # standard errors that call for more images
GAIN = 0.05  # and the mean recall or AUROC of the classes, at least
SLACK = 0.02  # that neither may fall by
FEWEST = 16  # images, below which nothing is concluded
EACH = 8  # images for each class, before another order of classes is concluded

_UNIT: dict[str, Any] = {"range": (0.0, 1.0)}
_COLOUR: Mapping[str, dict[str, Any]] = {
    "ImageNet's mean and std": _UNIT | {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "pixels from -1 to 1": _UNIT | {"mean": (0.5,) * 3, "std": (0.5,) * 3},
    "pixels from 0 to 1": _UNIT | {"mean": (0.0,) * 3, "std": (1.0,) * 3},
    "pixels from 0 to 255": {"range": (0.0, 255.0), "mean": (0.0,) * 3, "std": (1.0,) * 3},
    "Caffe's means of 0 to 255, blue first": {
        "range": (0.0, 255.0),
        "mean": (103.939, 116.779, 123.68),
        "std": (1.0,) * 3,
        "order": "bgr",
    },
    "CLIP's mean and std": _UNIT
    | {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)},
}
_GREY: Mapping[str, dict[str, Any]] = {
    "pixels from 0 to 1": _UNIT | {"mean": (0.0,), "std": (1.0,)},
    "pixels from -1 to 1": _UNIT | {"mean": (0.5,), "std": (0.5,)},
    "pixels from 0 to 255": {"range": (0.0, 255.0), "mean": (0.0,), "std": (1.0,)},
    "pixels from -1024 to 1024": {"range": (-1024.0, 1024.0), "mean": (0.0,), "std": (1.0,)},
    "ImageNet's mean and std of grey": _UNIT | {"mean": (0.449,), "std": (0.226,)},
}


@dataclass(frozen=True)
class Trial:
    """How one convention answers the labelled images."""

    name: str
    blueprint: Blueprint
    accuracy: float  # share of images (softmax) or of findings (sigmoid) answered rightly
    recall: float  # the same, each class counting alike; of a finding, its absence too
    auroc: float  # of each class against the others, on average
    likelihoods: NDArray[np.float64]  # (N,) log-likelihoods, at the temperature that suits the convention best

    @property
    def likelihood(self) -> float:
        """Of an image, on average."""
        return float(self.likelihoods.mean())

    def clearly_better(self, other: "Trial", errors: float = CLEAR) -> bool:
        """Whether these images speak for this convention and against the other beyond chance."""
        gains = (self.recall - other.recall, self.auroc - other.auroc)
        # A convention that tells the classes worse apart may still suit a shifted threshold: it is not the right one.
        if len(self.likelihoods) < FEWEST or max(gains) < GAIN or min(gains) < -SLACK:
            return False
        return _clear(self.likelihoods - other.likelihoods, errors)

    def card(self, card: ModelCard, assumed: Sequence[str]) -> ModelCard:
        """The file's card with this convention. `assumed`: the classes in the order in which the model was tried.

        That is the data's order; the card's own is that of the file's answers.
        """
        named = dict(zip(assumed, self.blueprint.labels, strict=True))
        labels = tuple(named.get(label, label) for label in card.labels)
        taken = {name: getattr(self.blueprint, name) for name in ("range", "order", "mean", "std")}
        return card.model_copy(update={**taken, "labels": labels})


def card_line(card: ModelCard) -> str:
    """A card on one line of YAML, without what belongs to one file."""
    told = {**card.model_dump(mode="json", exclude_defaults=True), "hidden": card.hidden}
    for entry in ("imported", "temperature", "weights_sha256", "notes", "file"):
        told.pop(entry, None)
    return yaml.safe_dump(told, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6).strip()


def try_conventions(model: ImageClassifier, images: Sequence[Tensor], y: Tensor) -> tuple[Trial, ...]:
    """The model's own convention first, then all others, the likeliest first.

    Where the answers fit the classes in another order, that order is tried too. images: (C, H, W) each in [0, 1], of
    any sizes; y: (N,) classes or (N, K) findings.
    """
    own, truth = model.blueprint, y.cpu().numpy()
    x = torch.cat([resize(image[None].to(model.mean), own.size, own.resize) for image in images])

    def tried(name: str, blueprint: Blueprint) -> Iterator[Trial]:
        changed = ImageClassifier(
            blueprint, model.backbone, model.top, micro_batch=model.micro_batch, exact=model.exact
        )
        logits = _answers(changed.to(model.mean.device).eval(), x)
        yield _trial(name, blueprint, logits, truth)
        order = likelier_order(logits, truth, blueprint)
        if order is not None:
            labels = tuple(blueprint.labels[one] for one in order)
            name = f"{name}, classes in the order {', '.join(labels)}"
            columns = np.argsort(order)
            yield _trial(name, blueprint.model_copy(update={"labels": labels}), logits[:, columns], truth)

    first, *others = tried("as assumed", own)
    others += [trial for name, changed in _variants(own) if changed != own for trial in tried(name, changed)]
    return (first, *sorted(others, key=lambda trial: -trial.likelihood))


def likelier(trials: Sequence[Trial]) -> Trial | None:
    """The convention that the images clearly prefer to the first; None where they prefer none."""
    first, *others = trials
    better = sorted((t for t in others if t.clearly_better(first)), key=lambda trial: -trial.likelihood)
    plain = next((t for t in better if t.blueprint.labels == first.blueprint.labels), None)
    renamed = next((t for t in better if t.blueprint.labels != first.blueprint.labels), None)
    if plain and renamed and not renamed.clearly_better(plain):
        return plain  # inverted and misnamed is as right as neither
    return renamed or plain


def undecided(trials: Sequence[Trial]) -> bool:
    """Whether more images may speak for another convention than the first."""
    first, *others = trials
    return likelier(trials) is None and any(trial.clearly_better(first, HINT) for trial in others)


def likelier_order(logits: NDArray[np.float64], truth: Any, blueprint: Blueprint) -> tuple[int, ...] | None:
    """For each answer the class that it speaks for, where that is clearly not the assumed order (softmax only).

    One half of the images names an order, the other half tries it: the best of many orders fits chance answers too.
    Each class counts alike, so that a network with one answer to everything is taken for no other order.
    """
    classes = len(blueprint.labels)
    if blueprint.head != "softmax" or len(truth) < max(FEWEST, EACH * classes) or not np.isfinite(logits).all():
        return None
    said, number = logits.argmax(1), np.argsort(np.argsort(truth, kind="stable"))  # classes alternate between halves
    half = number % 2 == 0
    gained = np.zeros(len(truth))
    for known, tried in ((half, ~half), (~half, half)):
        order = _best_order(said[known], truth[known], classes)
        gained[tried] = (order[said[tried]] == truth[tried]).astype(float) - (said[tried] == truth[tried])
    counts = np.bincount(truth, minlength=classes)
    weighted = gained / counts[truth] * len(truth) / (counts > 0).sum()
    order = _best_order(said, truth, classes)
    if (order == np.arange(classes)).all() or weighted.mean() < GAIN or not _clear(weighted):
        return None
    return tuple(int(one) for one in order)


def _best_order(said: NDArray[Any], truth: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """For each answer a class, so that recall is highest; answers stay where nothing speaks against it."""
    from scipy.optimize import linear_sum_assignment

    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (said, truth), 1)
    recall = confusion / np.maximum(confusion.sum(0), 1) + 1e-6 * np.eye(classes)
    return linear_sum_assignment(-recall)[1]


def _clear(apart: NDArray[np.float64], errors: float = CLEAR) -> bool:
    """Whether a mean difference between images lies above nothing by more than so many standard errors."""
    return float(apart.mean()) > errors * float(apart.std(ddof=1)) / len(apart) ** 0.5


def _variants(own: Blueprint) -> Iterator[tuple[str, Blueprint]]:
    usual = _COLOUR if own.channels == 3 else _GREY
    yield "black and white exchanged", own.model_copy(update={"range": own.range[::-1]})
    if own.channels == 3:
        yield "blue first", _backwards(own)
    for name, told in usual.items():
        plain = own.model_copy(update={"order": "rgb", **told})
        yield name, plain
        yield f"{name}, black and white exchanged", plain.model_copy(update={"range": plain.range[::-1]})


def _backwards(own: Blueprint) -> Blueprint:
    order = "bgr" if own.order == "rgb" else "rgb"
    return own.model_copy(update={"order": order, "mean": own.mean[::-1], "std": own.std[::-1]})


@torch.no_grad()
def _answers(model: ImageClassifier, x: Tensor) -> NDArray[np.float64]:
    return torch.cat([model(piece).double().cpu() for piece in x.split(model.micro_batch)]).numpy()


def _trial(name: str, blueprint: Blueprint, logits: NDArray[np.float64], truth: NDArray[Any]) -> Trial:
    from scipy.special import softmax

    if not np.isfinite(logits).all():
        return Trial(name, blueprint, 0.0, 0.0, 0.0, np.full(len(logits), -np.inf))
    head = blueprint.head
    temperature = fit_temperature(logits, truth, head)
    likelihoods = -losses(logits / temperature, truth, head)
    if head == "softmax":
        is_in = truth[:, None] == np.arange(logits.shape[1])
        right = np.repeat((logits.argmax(1) == truth)[:, None], logits.shape[1], 1)
        recall = [right[one, k].mean() for k, one in enumerate(is_in.T) if one.any()]
    else:
        is_in = truth > 0.5
        right = (logits > 0) == is_in
        recall = [right[one, k].mean() for k, there in enumerate(is_in.T) for one in (there, ~there) if one.any()]
    scores = softmax(logits / temperature, axis=1) if head == "softmax" else logits
    return Trial(name, blueprint, float(right.mean()), float(np.mean(recall)), _auroc(scores, is_in), likelihoods)


def _auroc(scores: NDArray[np.float64], is_in: NDArray[np.bool_]) -> float:
    """The mean over columns that hold both; half where none does."""
    from scipy.stats import rankdata

    found = [
        (rankdata(score)[one].mean() - (one.sum() + 1) / 2) / (~one).sum()
        for score, one in zip(scores.T, is_in.T, strict=True)
        if 0 < one.sum() < len(one)
    ]
    return float(np.mean(found)) if found else 0.5
