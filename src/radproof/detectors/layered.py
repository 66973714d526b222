# SPDX-License-Identifier: Apache-2.0
"""A network's layers as a detector that looks inside takes them: gathered to learn from, checked before they are used.

What was learnt is stored under each layer's place and name, so that another network's layers are refused.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from radproof.core.types import Head
from radproof.detectors.look import Look
from radproof.errors import BadInput, BadModel
from radproof.models.layers import Seen, require_layers

LOGITS = "logits"
_REPEATED = 1e-4  # relative; of the same numbers, averaged in another order
_DEAD = 0.01  # of the median spread: channels that hardly ever vary are not judged more finely


def layers_of(seen: Seen, what: str) -> dict[str, Tensor]:
    """By name, (N, F): what the network shows, and its logits. Raises BadModel where it shows nothing."""
    require_layers(seen, what)
    return {**seen.layers, LOGITS: seen.logits}


def gathered(pieces: Sequence[Look], what: str) -> dict[str, Tensor]:
    """The layers of many looks, float64 on the CPU, without those that never vary or repeat an earlier one.

    Raises BadModel where none is left.
    """
    parts = [layers_of(piece.seen(), what) for piece in pieces]
    found: dict[str, Tensor] = {}
    for name in parts[0]:
        layer = torch.cat([part[name].detach().double().cpu() for part in parts])
        if _varies(layer) and not any(_repeats(layer, earlier) for earlier in found.values()):
            found[name] = layer
    if not found:
        raise BadModel(f"{what} finds that the network's layers are the same for all clean images; is it trained?")
    return found


def chosen(seen: Seen, widths: Mapping[str, int], what: str) -> list[Tensor]:
    """The layers that were learnt from. Raises BadInput where this network's are others."""
    here = layers_of(seen, what)
    for name, width in widths.items():
        if name not in here or here[name].shape[1] != width:
            has = f"{here[name].shape[1]} channels" if name in here else "no such layer"
            raise BadInput(
                f"the {what} detector was fitted on a network whose layer {name} has {width} channels, this one has "
                f"{has}; fit it again with this network"
            )
    return [here[name] for name in widths]


def classes_of(pieces: Sequence[Look]) -> Tensor:
    """(N,) int64: the model's own answers; all 0 where findings stand side by side."""
    return torch.cat([answers(piece.seen().logits, piece.head).cpu() for piece in pieces])


def answers(logits: Tensor, head: Head) -> Tensor:
    """(N,) int64: the class with the highest logit; all 0 for a sigmoid head."""
    return logits.argmax(1) if head == "softmax" else logits.new_zeros(len(logits), dtype=torch.int64)


def spread_of(residuals: Tensor) -> Tensor:
    """(F,): each channel's standard deviation, with a floor for channels that hardly vary; residuals (N, F)."""
    found = residuals.square().mean(0).sqrt()
    alive = found[found > 0]
    return found.clamp_min(_DEAD * float(alive.median())) if len(alive) else torch.ones_like(found)


def packed(layers: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """By layer and name, as one flat state that remembers the layers' order."""
    return {
        f"{place:03}/{layer}/{name}": tensor
        for place, (layer, tensors) in enumerate(layers.items())
        for name, tensor in tensors.items()
    }


def unpacked(state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, list[Tensor]]:
    """By layer, the named tensors. Raises BadInput for a state that was not packed with these names."""
    found: dict[str, dict[str, Tensor]] = {}
    for key in sorted(state):
        place, _, rest = key.partition("/")
        layer, _, name = rest.rpartition("/")
        if not place.isdigit() or not layer:
            raise BadInput(f"the stored state holds {key!r}, which is no layer's; fit this detector again")
        found.setdefault(layer, {})[name] = state[key]
    for layer, tensors in found.items():
        if set(tensors) != set(names):
            raise BadInput(
                f"the stored state of layer {layer} holds {', '.join(sorted(tensors))}, expected {', '.join(names)}; "
                "it was written by another detector, fit this one again"
            )
    if not found:
        raise BadInput("the stored state holds no layers; it was written by another detector, fit this one again")
    return {layer: [tensors[name] for name in names] for layer, tensors in found.items()}


def _varies(layer: Tensor) -> bool:
    return bool((layer.std(0) > 1e-6 * layer.abs().max()).any())


def _repeats(layer: Tensor, earlier: Tensor) -> bool:
    if layer.shape != earlier.shape:
        return False
    return bool((layer - earlier).abs().max() <= _REPEATED * earlier.std(0).max())
