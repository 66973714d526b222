# SPDX-License-Identifier: Apache-2.0
"""What a network says of an image on the way to its answer: each stage's channels, averaged over the image.

Hooks hang on the stages for one pass only and are taken off whatever happens.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from radproof.core.types import Classifier
from radproof.errors import BadModel
from radproof.models.classifier import ImageClassifier


@dataclass(frozen=True)
class Seen:
    """One pass: logits (N, K), and by layer, in order, its channel means (N, F)."""

    logits: Tensor
    layers: dict[str, Tensor]


def see(model: Classifier, x: Tensor) -> Seen:
    """Pixels (N, C, H, W) -> logits and layers from one pass, with a gradient where x has one.

    Layers are the backbone's stages, its pooled features and the head's hidden layer; of anything but an
    ImageClassifier there are none. Raises BadInput for what is no image.
    """
    if not isinstance(model, ImageClassifier):
        return Seen(model(x), {})
    found: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for name, stage in stages(model).items():
            hooks.callback(stage.register_forward_hook(_keeper(name, found)).remove)
        pooled = model.features(x)
        found["features"] = pooled
        hidden = getattr(model.top, "hidden", None)
        if isinstance(hidden, nn.Module):
            hooks.callback(hidden.register_forward_hook(_keeper("hidden", found)).remove)
        logits = model.top(pooled) / model.temperature
    return Seen(logits, found)


def stages(model: ImageClassifier) -> dict[str, nn.Module]:
    """The backbone's stages by name, in order: where timm says that the resolution changes, or cxrnet's own."""
    told: Any = getattr(model.backbone, "feature_info", None)
    if told is None:
        own = getattr(model.backbone, "stages", None)
        return {} if own is None else {f"stages.{name}": stage for name, stage in own.named_children()}
    modules = dict(model.backbone.named_modules())
    names = [str(stage["module"]) for stage in (told if isinstance(told, list) else told.info)]
    return {name: modules[name] for name in names if name in modules}


def require_layers(seen: Seen, what: str) -> None:
    """Raise BadModel where a network shows no layers to a detector that needs them."""
    if not seen.layers:
        raise BadModel(
            f"{what} looks into the network's layers, and this classifier shows none; give a network that radproof "
            "opens itself, or choose consistency, frequency or blocks"
        )


def _keeper(name: str, found: dict[str, Tensor]) -> Any:
    def keep(_module: nn.Module, _given: Any, maps: Tensor) -> None:
        # Averaged at once: a layer after this one may work in place.
        found[name] = maps.mean((2, 3)) if maps.dim() == 4 else maps.flatten(1, -2).mean(1) if maps.dim() == 3 else maps

    return keep
