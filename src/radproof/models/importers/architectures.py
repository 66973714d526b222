# SPDX-License-Identifier: Apache-2.0
"""Networks by the names of timm and torchvision, built to fit the weights of a file: classes, channels, head."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast

from torch import nn

from radproof.errors import BadModel
from radproof.models.weights import Shapes

VISION = "torchvision:"


@dataclass(frozen=True)
class Plan:
    """How to build a network, on whatever device is in force."""

    build: Callable[[], nn.Module]
    classes: int
    channels: int
    note: str = ""


def known(architecture: str) -> None:
    """Raise BadModel for a name that neither timm nor torchvision builds by itself."""
    name = architecture.removeprefix(VISION)
    if architecture.startswith(VISION):
        import torchvision

        names: list[str] = torchvision.models.list_models(module=torchvision.models)
        fits = name in names
    else:
        import timm

        names = timm.list_models()
        fits = timm.is_model(name)
    if not fits:  # timm takes also "hf-hub:…", which would fetch from anywhere
        near = get_close_matches(name.lower(), names, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise BadModel(f"no network named {architecture[:80]!r}{hint} (names are timm's, or torchvision:NAME)")


def plans(architecture: str, found: Shapes) -> Iterator[Plan]:
    """Ways to build the network for these weights, the most likely first. Call `known` first; build on meta."""
    usual = _made(architecture, None, 3)
    first, last = _first_conv(usual), _classifier(usual)
    channels = _channels(found, first)
    direct = found.get(f"{last}.weight")
    classes = direct[0] if direct else int(getattr(usual.get_submodule(last), "out_features", 1000))
    plain = Plan(lambda: _made(architecture, classes, channels), classes, channels)
    if direct:
        yield plain
    for place in (last, last.rpartition(".")[0]):
        head = _head(found, place) if place else {}
        if head:
            width = head[max(head)][0]
            build = _with_head(architecture, channels, place, head)
            note = "between the two layers of its head stands a ReLU, as is usual" if len(head) == 2 else ""
            yield Plan(build, width, channels, note)
    if not direct:
        yield plain


def fixed_size(network: nn.Module) -> tuple[int, int] | None:
    """The only height and width that a network takes, where it says so."""
    config: Any = getattr(network, "pretrained_cfg", None)
    if isinstance(config, Mapping) and cast(Mapping[str, Any], config).get("fixed_input_size"):
        return cast(Any, config)["input_size"][1], cast(Any, config)["input_size"][2]
    side = getattr(network, "image_size", None)
    return (side, side) if isinstance(side, int) else None


def _made(architecture: str, classes: int | None, channels: int) -> nn.Module:
    more: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    name = architecture.removeprefix(VISION)
    try:
        if not architecture.startswith(VISION):
            import timm

            return timm.create_model(name, pretrained=False, in_chans=channels, **more)
        import torchvision

        extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        network = torchvision.models.get_model(name, weights=None, **more, **extra)
    except Exception as error:  # each network raises what it likes
        said = " ".join(str(error).split())[:160]
        raise BadModel(
            f"{architecture} with {classes} classes and {channels} channels cannot be built: {said}"
        ) from None
    if channels != 3:
        _replace(network, _first_conv(network), lambda conv: _taking(cast(nn.Conv2d, conv), channels))
    return network


def _taking(conv: nn.Conv2d, channels: int) -> nn.Conv2d:
    size, stride, padding = cast(Any, (conv.kernel_size, conv.stride, conv.padding))
    return nn.Conv2d(
        channels, conv.out_channels, size, stride, padding, cast(Any, conv.dilation), bias=conv.bias is not None
    )


def _with_head(
    architecture: str, channels: int, place: str, head: Mapping[int, tuple[int, ...]]
) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        network = _made(architecture, None, channels)
        layers: list[nn.Module] = []
        for index in range(max(head) + 1):
            wide = head.get(index)
            layers.append(nn.Linear(wide[1], wide[0]) if wide else nn.Identity())
        if len(head) == 2:
            layers[min(head) + 1] = nn.ReLU()
        return _replace(network, place, lambda _: nn.Sequential(*layers))

    return build


def _replace(network: nn.Module, name: str, change: Callable[[nn.Module], nn.Module]) -> nn.Module:
    owner, _, own = name.rpartition(".")
    holder = network.get_submodule(owner)
    setattr(holder, own, change(network.get_submodule(name)))
    return network


def _head(found: Shapes, place: str) -> dict[int, tuple[int, ...]]:
    """Linear layers of a Sequential that stands at `place`, one or two, by their number in it."""
    named = {name: re.fullmatch(re.escape(place) + r"\.(\d{1,2})\.weight", name) for name in found}
    head = {int(hit[1]): found[name] for name, hit in named.items() if hit and len(found[name]) == 2}
    apart = len(head) < 2 or max(head) - min(head) > 1
    return dict(sorted(head.items())) if 1 <= len(head) <= 2 and apart else {}


def _channels(found: Shapes, first: str) -> int:
    shape = found.get(f"{first}.weight", ())
    channels = shape[1] if len(shape) == 4 else 3
    if channels not in (1, 3):
        raise BadModel(f"the weights take images of {channels} channels ({first}); radproof's have 1 or 3")
    return channels


def _first_conv(network: nn.Module) -> str:
    told = _told(network, "first_conv")
    return told or next((name for name, part in network.named_modules() if isinstance(part, nn.Conv2d)), "")


def _classifier(network: nn.Module) -> str:
    """The name of the layer that answers: what timm says, or else the last one with weights."""
    told = _told(network, "classifier")
    return told or [name for name, part in network.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1]


def _told(network: nn.Module, what: str) -> str:
    config: Any = getattr(network, "pretrained_cfg", None)
    told = cast(Mapping[str, Any], config).get(what) if isinstance(config, Mapping) else None
    name = told[0] if isinstance(told, tuple | list) and told else told
    names = dict(network.named_modules())
    return name if isinstance(name, str) and isinstance(names.get(name), nn.Linear | nn.Conv2d) else ""
