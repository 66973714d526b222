# SPDX-License-Identifier: Apache-2.0
"""What networks usually take, tried on labelled images: a wrong guess about range, order or mean shows in the answers.

Most complaints about attack libraries come from inputs prepared twice, or otherwise than in training. So the usual
conventions are tried before anything is attacked, and what the images speak for is proposed as the card.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from radproof.core.types import Head
from radproof.measure.calibration import fit_temperature, losses
from radproof.models.blueprint import Blueprint
from radproof.models.classifier import ImageClassifier, resize

CLEAR = 4.0  # standard errors by which another convention's log-likelihood must be better
GAIN = 0.05  # and the accuracy, at least
FEWEST = 8  # images, below which nothing is concluded

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
    likelihoods: NDArray[np.float64]  # (N,) log-likelihoods, at the temperature that suits the convention best

    @property
    def likelihood(self) -> float:
        """Of an image, on average."""
        return float(self.likelihoods.mean())

    def clearly_better(self, other: "Trial") -> bool:
        """Whether these images speak for this convention and against the other beyond chance."""
        if len(self.likelihoods) < FEWEST or self.accuracy < other.accuracy + GAIN:
            return False
        apart = self.likelihoods - other.likelihoods
        return float(apart.mean()) > CLEAR * float(apart.std(ddof=1)) / len(apart) ** 0.5

    def card(self) -> str:
        """The card on one line of YAML."""
        told = {**self.blueprint.model_dump(mode="json", exclude_defaults=True), "hidden": 0}
        for entry in ("imported", "temperature"):
            told.pop(entry, None)
        return yaml.safe_dump(told, default_flow_style=True, sort_keys=False, width=10**6).strip()


def try_conventions(model: ImageClassifier, images: Sequence[Tensor], y: Tensor) -> tuple[Trial, ...]:
    """The model's own convention first, then all others, the likeliest first.

    images: (C, H, W) each in [0, 1], of any sizes; y: (N,) classes or (N, K) findings.
    """
    own = model.blueprint
    x = torch.cat([resize(image[None].to(model.mean), own.size, own.resize) for image in images])
    truth = y.cpu().numpy()

    def tried(name: str, blueprint: Blueprint) -> Trial:
        changed = ImageClassifier(
            blueprint, model.backbone, model.top, micro_batch=model.micro_batch, exact=model.exact
        )
        logits = _answers(changed.to(model.mean.device).eval(), x)
        return _trial(name, blueprint, logits, truth, own.head)

    first = tried("as assumed", own)
    others = [tried(name, changed) for name, changed in _variants(own) if changed != own]
    return (first, *sorted(others, key=lambda trial: -trial.likelihood))


def likelier(trials: Sequence[Trial]) -> Trial | None:
    """The convention that the images clearly prefer to the first; None where they prefer none."""
    first, *others = trials
    better = [trial for trial in others if trial.clearly_better(first)]
    return max(better, key=lambda trial: trial.likelihood, default=None)


def likelier_order(model: ImageClassifier, images: Sequence[Tensor], y: Tensor) -> tuple[str, ...] | None:
    """Class names in the order that the answers speak for, where it is clearly not the assumed one (softmax only)."""
    if model.head != "softmax":
        return None
    own = model.blueprint
    x = torch.cat([resize(image[None].to(model.mean), own.size, own.resize) for image in images])
    said, truth = _answers(model, x).argmax(1), y.cpu().numpy()
    classes = len(model.labels)
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (said, truth), 1)
    answers, named = linear_sum_assignment(-confusion)
    as_is, permuted = np.trace(confusion), confusion[answers, named].sum()
    # The best of many orders fits chance answers too: it must beat them and the assumed order by far.
    spread = (len(truth) / classes) ** 0.5
    if permuted - as_is <= CLEAR * spread or len(truth) < FEWEST * classes:
        return None
    return tuple(model.labels[int(one)] for one in named)


def reordered(trial: Trial, labels: Sequence[str]) -> Trial:
    """The same convention with the classes in another order."""
    return replace(trial, blueprint=trial.blueprint.model_copy(update={"labels": tuple(labels)}))


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


def _trial(name: str, blueprint: Blueprint, logits: NDArray[np.float64], truth: Any, head: Head) -> Trial:
    if not np.isfinite(logits).all():
        return Trial(name, blueprint, 0.0, np.full(len(logits), -np.inf))
    temperature = fit_temperature(logits, truth, head)
    right = logits.argmax(1) == truth if head == "softmax" else (logits > 0) == (truth > 0.5)
    return Trial(name, blueprint, float(np.mean(right)), -losses(logits / temperature, truth, head))
