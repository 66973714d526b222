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
        widths = _widths(model)
        for name, stage in stages(model).items():
            hooks.callback(stage.register_forward_hook(_keeper(name, found, widths.get(name))).remove)
        pooled = model.features(x)
        found["features"] = pooled.clone()
        hidden = getattr(model.top, "hidden", None)
        if isinstance(hidden, nn.Module):
            hooks.callback(hidden.register_forward_hook(_keeper("hidden", found)).remove)
        logits = model.corrected(model.top(pooled) / model.temperature, x)
    return Seen(logits, found)


def stages(model: ImageClassifier) -> dict[str, nn.Module]:
    """The backbone's stages by name, in order: what timm names, with numbered blocks between them, or cxrnet's own.

    timm names the stages before the resolution changes; of a MobileNet or EfficientNet that leaves out middle blocks.
    """
    widths = _widths(model)
    if not widths:
        own = getattr(model.backbone, "stages", None)
        return {f"stages.{name}": stage for name, stage in own.named_children()} if isinstance(own, nn.Module) else {}
    modules = dict(model.backbone.named_modules())
    return {sibling: modules[sibling] for name in widths if name in modules for sibling in _siblings(name, modules)}


def require_layers(seen: Seen, what: str) -> None:
    """Raise BadModel where a network shows no layers to a detector that needs them."""
    if not seen.layers:
        raise BadModel(
            f"{what} looks into the network's layers, and this classifier shows none; give a network that radproof "
            "opens itself, or choose consistency, frequency or blocks"
        )


def _siblings(name: str, modules: dict[str, nn.Module]) -> list[str]:
    """A numbered block and all others of its row; anything else by itself."""
    row, _, own = name.rpartition(".")
    if not (row and own.isdigit()):
        return [name]
    others = [f"{row}.{child}" for child, block in modules[row].named_children() if any(True for _ in block.children())]
    return others if name in others else [name]


def _widths(model: ImageClassifier) -> dict[str, int]:
    """How many channels timm says that each stage has."""
    told: Any = getattr(model.backbone, "feature_info", None) or []
    return {str(stage["module"]): int(stage["num_chs"]) for stage in (told if isinstance(told, list) else told.info)}


def _keeper(name: str, found: dict[str, Tensor], width: int | None = None) -> Any:
    def keep(_module: nn.Module, _given: Any, maps: Any) -> None:
        # Averaged or copied at once: a layer after this one may work in place.
        if isinstance(maps, Tensor):
            found[name] = _means(maps, width)

    return keep


def _means(maps: Tensor, width: int | None) -> Tensor:
    """(N, F) of maps (N, F, h, w), tokens (N, T, F), or maps with their channels last, as swin has them."""
    if maps.dim() == 2:
        return maps.clone()
    last = maps.dim() == 3 or (width is not None and maps.shape[1] != width == maps.shape[-1])
    return maps.flatten(1, -2).mean(1) if last else maps.flatten(2).mean(2)
