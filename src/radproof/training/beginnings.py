# SPDX-License-Identifier: Apache-2.0
"""What a training begins with: a network, new or trained before, and perhaps a teacher."""

import copy
import hashlib
from collections.abc import Sequence
from typing import Any

import torch

from radproof.core.types import Classifier, Head
from radproof.errors import BadInput, BadModel
from radproof.models.classifier import ImageClassifier
from radproof.models.zoo import build
from radproof.training.folds import Fold
from radproof.training.recipe import TrainingRecipe


def begin(
    recipe: TrainingRecipe, labels: Sequence[str], head: Head, start: ImageClassifier | None = None
) -> ImageClassifier:
    """A new network, or one with the weights of `start` instead of pretrained ones, and not its temperature.

    Raises BadModel where `start` is another network than the recipe's.
    """
    blueprint = start.blueprint if start is not None else None
    model = build(
        recipe.architecture,
        labels=labels,
        head=head,
        input_size=recipe.input_size,
        hidden=recipe.hidden,
        dropout=recipe.dropout,
        mean=blueprint.mean if blueprint and blueprint.architecture == recipe.architecture else None,
        std=blueprint.std if blueprint and blueprint.architecture == recipe.architecture else None,
        weights=recipe.weights if start is None else None,
        pretrained=recipe.pretrained and start is None,
        seed=recipe.seed,
    )
    if start is not None:
        for name in ("architecture", "labels", "head", "hidden"):
            wanted, given = getattr(model.blueprint, name), getattr(start.blueprint, name)
            if wanted != given:
                raise BadModel(
                    f"the network to start from has {name} {_short(given)}, the recipe and data ask for "
                    f"{_short(wanted)}; start from a network of the same kind, or change the recipe"
                )
        model.load_state_dict(start.state_dict())
    return model


def settle_teacher(
    recipe: TrainingRecipe, teacher: Classifier | None, labels: Sequence[str], head: Head, device: torch.device
) -> Classifier | None:
    """The teacher as in use, on the device. Raises BadInput without `distill:`, BadModel for other classes."""
    if teacher is None:
        return None
    if recipe.distill is None:
        raise BadInput("a teacher was given, but the recipe has no distill:; add distill: {temperature: 20}")
    if (tuple(teacher.labels), teacher.head) != (tuple(labels), head):
        raise BadModel(
            f"the teacher answers {_short(teacher.labels)} ({teacher.head}), the data ask for {_short(labels)} "
            f"({head}); give a teacher with the same classes in the same order"
        )
    if isinstance(teacher, ImageClassifier):
        return copy.deepcopy(teacher).to(device).freeze()
    return teacher


def origins(
    start: ImageClassifier | None, teacher: Classifier | None, fold: Fold, batch: int, device: torch.device
) -> dict[str, str]:
    """Fingerprints of what was trained before, by part; empty for a training from scratch.

    Where a teacher has none, sha256 over its answers on the training fold stands in.
    """
    told = {} if start is None else {"start": start.fingerprint()}
    if isinstance(teacher, ImageClassifier):
        told["teacher"] = teacher.fingerprint()
    elif teacher is not None:
        found = hashlib.sha256()
        with torch.no_grad():
            for part in fold.images.split(max(1, min(batch, teacher.micro_batch))):
                found.update(teacher(part.to(device)).float().cpu().contiguous().numpy().data)
        told["teacher"] = found.hexdigest()
    return told


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
