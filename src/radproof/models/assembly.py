# SPDX-License-Identifier: Apache-2.0
"""From a stranger's network and a card to the classifier that everything else works with."""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from radproof.core.types import Head
from radproof.errors import BadModel
from radproof.models.card import ModelCard
from radproof.models.classifier import Exact, ImageClassifier
from radproof.models.graph import cut
from radproof.models.imported import Imported

IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
GREY: dict[str, Any] = {"mean": (0.5,), "std": (0.5,)}
USUAL_SIZE = 224


class TwoClasses(nn.Module):
    """One logit (N, 1) -> two (N, 2): that of the first class is zero, and softmax says what the sigmoid said."""

    def __init__(self, top: nn.Module) -> None:
        super().__init__()
        self.top = top

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, 2) of features (N, F)."""
        return _two(self.top(features))


class Chosen(nn.Module):
    """Some of the answers, in another order."""

    index: Tensor

    def __init__(self, top: nn.Module, order: Sequence[int]) -> None:
        super().__init__()
        self.top = top
        self.register_buffer("index", torch.tensor(tuple(order)), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (N, K) of features (N, F)."""
        return self.top(features).index_select(1, self.index)


def guessed(network: Imported, labels: Sequence[str], head: Head, *, architecture: str, name: str) -> ModelCard:
    """The card that a file is most often right with: ImageNet's mean and std, the data's classes in their order.

    What the file says of itself goes first. Raises BadModel where the number of answers is not that of the classes.
    """
    hints = network.hints
    own = tuple(hints.get("labels", ()))
    if own and (set(own) == set(labels) or (head == "sigmoid" and set(own) > set(labels))):
        labels = own
    usual = IMAGENET if network.channels == 3 else GREY
    told = {key: hints[key] for key in ("mean", "std", "range", "order") if key in hints}
    if "range" in told and "mean" not in told:
        told |= {"mean": (0.0,) * network.channels, "std": (1.0,) * network.channels}
    try:
        return ModelCard(
            architecture=architecture,
            name=name,
            labels=tuple(labels),
            head=head,
            input_size=network.size or USUAL_SIZE,
            hidden=0,
            channels=1 if network.channels == 1 else 3,
            **{**usual, **told},
        )
    except ValidationError as error:
        raise BadModel(f"{name}: {error.errors()[0]['msg']}; give a card: --card FILE") from None


def service_card(labels: Sequence[str], head: Head) -> ModelCard:
    """The card of a service that comes without one: it takes what ImageNet's networks take."""
    return ModelCard(architecture="endpoint", labels=tuple(labels), head=head, hidden=0, **IMAGENET)


def assembled(network: Imported, card: ModelCard) -> ImageClassifier:
    """The classifier; raises BadModel where card and network disagree about classes, channels or size."""
    _agree(network, card)
    height, width = card.size
    example = torch.zeros(network.batch or 2, network.channels, height, width)
    _finite(network, example)
    backbone, top = cut(network.graph, example, network.batch)
    exact = network.exact
    if network.classes == 1 and len(card.labels) == 2:
        top, exact = TwoClasses(top), _after(exact, _two)
    return ImageClassifier(card.blueprint, backbone, top, exact=exact)


def answering(model: ImageClassifier, labels: Sequence[str]) -> ImageClassifier:
    """The same classifier with its classes in the order of `labels`; of findings side by side also some of them.

    Raises BadModel where it does not know them.
    """
    own = model.labels
    if tuple(labels) == own:
        return model
    missing = [label for label in labels if label not in own]
    if missing or (model.head == "softmax" and len(labels) < len(own)):
        raise BadModel(
            f"the model answers {', '.join(own)} ({model.head}), the data are labelled {', '.join(labels)}; choose "
            "the same classes, or give a card with the data's names for them"
        )
    order = [own.index(label) for label in labels]
    blueprint = model.blueprint.model_copy(update={"labels": tuple(labels)})
    exact = _after(model.exact, lambda logits: logits[:, order])
    return ImageClassifier(blueprint, model.backbone, Chosen(model.top, order), exact=exact)


def _agree(network: Imported, card: ModelCard) -> None:
    answers, wanted = network.classes, len(card.labels)
    if answers != wanted and not (answers == 1 and wanted == 2 and card.head == "softmax"):
        raise BadModel(
            f"the network gives {answers} answers, and there are {wanted} classes ({', '.join(card.labels)}); "
            "choose the classes that it was trained on, or give its card: --card FILE"
        )
    if network.head == "softmax" and card.head == "sigmoid":
        raise BadModel(
            "the network ends in a softmax, so it answers one class per image; its card, or the data, say findings "
            "side by side: mend head:, or leave multi_label out"
        )
    if network.channels != card.channels:
        raise BadModel(f"the network takes {network.channels} channels, its card says {card.channels}; mend the card")
    if network.size is not None and network.size != card.size:
        raise BadModel(
            f"the network takes {network.size[0]} × {network.size[1]} pixels only, its card says input_size "
            f"{card.size[0]} × {card.size[1]}; mend the card"
        )


def _finite(network: Imported, example: Tensor) -> None:
    with torch.no_grad():
        answer = network.graph(example)
    if not bool(answer.isfinite().all()):
        raise BadModel("the network answers NaN or infinity to plain images; check its weights")


def _two(logits: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(logits), logits], dim=1)


def _after(exact: Exact | None, change: Exact) -> Exact | None:
    return None if exact is None else lambda x: change(exact(x))
