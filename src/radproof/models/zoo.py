# SPDX-License-Identifier: Apache-2.0
"""Networks by name: any that timm builds, and cxrnet; each becomes an ImageClassifier with its own head.

The head is that of the published recipe: pooled features, a hidden layer of 256, dropout one half, classes.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from radproof.core.types import Head
from radproof.errors import BadInput, BadModel, UnknownName
from radproof.models.blueprint import Blueprint
from radproof.models.classifier import ImageClassifier
from radproof.models.cxrnet import MEAN, STD, CXRNet
from radproof.models.weights import Shapes, load_weights, shapes_of

CXRNET = "cxrnet"


def build(
    architecture: str,
    *,
    labels: Sequence[str],
    head: Head = "softmax",
    input_size: int = 224,
    hidden: int = 256,
    dropout: float = 0.5,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    weights: Path | str | None = None,
    pretrained: bool = False,
    seed: int = 0,
) -> ImageClassifier:
    """A new classifier; `weights` is a safetensors file of its backbone, everything else is drawn from `seed`.

    mean and std default to those that timm states for the network. Raises UnknownName for an unknown architecture,
    BadModel for weights that do not fit or cannot be fetched, BadInput for other values out of range.
    """
    channels, usual_mean, usual_std = _usual(architecture)
    try:
        blueprint = Blueprint(
            architecture=architecture,
            labels=tuple(labels),
            head=head,
            input_size=input_size,
            hidden=hidden,
            dropout=dropout,
            channels=channels,
            mean=tuple(mean) if mean is not None else usual_mean,
            std=tuple(std) if std is not None else usual_std,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "model"
        raise BadInput(f"{where}: {first['msg']}, got {first.get('input')!r}") from None
    if weights is not None and pretrained:
        raise BadInput("give either weights (a file) or pretrained (timm's own), not both")
    model = from_blueprint(blueprint, seed=seed, pretrained=pretrained)
    if weights is not None:
        load_backbone(model, Path(weights))
    return model


def from_blueprint(blueprint: Blueprint, *, seed: int = 0, pretrained: bool = False) -> ImageClassifier:
    """The network that a blueprint describes, with weights drawn from `seed`."""
    _known(blueprint.architecture)
    # timm and torch draw initial weights from the global generator: lend it a seed and give it back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        backbone = _backbone(blueprint.architecture, pretrained)
        width = int(backbone.head_hidden_size)  # pyright: ignore[reportArgumentType]
        return ImageClassifier(blueprint, backbone, _top(width, blueprint))


def expected_shapes(blueprint: Blueprint) -> Shapes:
    """The shape of every weight of a network, found without allocating any."""
    with torch.device("meta"):
        return shapes_of(from_blueprint(blueprint).state_dict())


def load_backbone(model: ImageClassifier, path: Path) -> None:
    """Give a classifier's backbone the weights of a file; those of another classification layer are left out.

    Raises BadModel where keys or shapes differ, or a weight is NaN or infinite.
    """
    layers = _classification_layers(model.backbone)
    expected = shapes_of(model.backbone.state_dict())
    found = load_weights(path, expected, ignored=layers)
    model.backbone.load_state_dict(found)


def _known(architecture: str) -> None:
    if architecture == CXRNET:
        return
    import timm

    # timm also takes names such as "hf-hub:…", which would fetch from anywhere; those are no known models.
    if timm.is_model(architecture):
        return
    near = get_close_matches(architecture.lower(), [CXRNET, *timm.list_models()], n=3)
    hint = f"; did you mean {', '.join(near)}?" if near else "; known: cxrnet and the networks of timm.list_models()"
    raise UnknownName(f"no network named {architecture!r}{hint}")


def _usual(architecture: str) -> tuple[Any, tuple[float, ...], tuple[float, ...]]:
    """Channels, mean and std of an architecture."""
    _known(architecture)
    if architecture == CXRNET:
        return 1, (MEAN,), (STD,)
    import timm

    config = timm.get_pretrained_cfg(architecture)
    if config is None:
        return 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return 3, tuple(config.mean), tuple(config.std)


def _backbone(architecture: str, pretrained: bool) -> nn.Module:
    if architecture == CXRNET:
        if pretrained:
            raise BadModel("cxrnet has no pretrained weights; leave pretrained out")
        return CXRNet()
    import timm

    try:
        return timm.create_model(architecture, pretrained=pretrained, num_classes=0, global_pool="avg", in_chans=3)
    except Exception as error:
        # The hub's clients raise errors of several packages, and a network may refuse average pooling in its own way.
        if pretrained:
            raise BadModel(
                f"the pretrained weights of {architecture} could not be fetched ({type(error).__name__}); they need "
                "the network once; offline, give a safetensors file: weights: FILE"
            ) from None
        raise BadModel(f"timm cannot build {architecture} as a feature extractor: {error}") from None


def _top(width: int, blueprint: Blueprint) -> nn.Module:
    classes = len(blueprint.labels)
    if not blueprint.hidden:
        return nn.Sequential(OrderedDict(classes=nn.Linear(width, classes)))
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            hidden=nn.Linear(width, blueprint.hidden),
            activate=nn.ReLU(),
            dropout=nn.Dropout(blueprint.dropout),
            classes=nn.Linear(blueprint.hidden, classes),
        )
    )


def _classification_layers(backbone: nn.Module) -> tuple[str, ...]:
    """Names under which a network's own files keep the layer that is replaced here."""
    config: Mapping[str, Any] | Tensor | nn.Module = getattr(backbone, "pretrained_cfg", {})
    named = config.get("classifier", ()) if isinstance(config, Mapping) else ()
    return (named,) if isinstance(named, str) else tuple(named or ())
