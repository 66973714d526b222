# SPDX-License-Identifier: Apache-2.0
"""An imported graph cut at its feature maps: a backbone like timm's, and the layers on top of its pooled features.

Maps end where pooling begins, or else where the last convolutional place narrows to one vector per image; a network
without such a place (a transformer) is cut at the input of its last layer, taken as maps of 1x1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from radproof.errors import BadModel
from radproof.models.graph_backbone import GraphBackbone, Pieces, Tap
from radproof.models.graph_nodes import called, first_input
from radproof.models.graph_parts import columns, flat, last_to_second, part, second_to_last, small
from radproof.models.graph_shapes import Shape, Survey, survey
from radproof.models.graph_stages import has_weights, stages_of


@dataclass(frozen=True)
class _Place:
    """Where to cut: maps, the features pooled from them, and whether the maps have their channels last."""

    maps: Node
    features: Node
    channels_last: bool = False


def cut(graph: GraphModule, example: Tensor, batch: int | None = None) -> tuple[GraphBackbone, nn.Module]:
    """Backbone and top, which answer together exactly as the graph does, and share its weights.

    example: images (N, C, H, W) of the size that will be used. batch: the only number of images that the graph takes
    at once; each part then runs in pieces of that many, the last filled up with copies of its last image.
    """
    count = batch or max(len(example), 2)
    example = example[torch.arange(count, device=example.device) % len(example)]
    found = survey(graph, example)
    for place in _places(graph, found):
        backbone, top = _parts(graph, found, place, batch)
        with torch.no_grad():
            if torch.equal(top(backbone.forward_head(backbone.forward_features(example))), found.answer):
                return backbone, top
    raise BadModel("the network gives other answers when it is asked again; expected one without randomness or memory")


def _parts(graph: GraphModule, found: Survey, place: _Place, batch: int | None) -> tuple[GraphBackbone, nn.Module]:
    shape, width = found.shapes[place.maps], found.shapes[place.features]
    stages = stages_of(graph, found, place.maps) if len(shape) == 4 else []
    taps = {node: Tap(_lies_last(found.shapes[node])) for node in stages}
    if len(shape) != 4:
        body, head = (
            part(graph, None, place.maps, after=small, taps=taps),
            part(graph, place.maps, place.maps, before=flat),
        )
        channels = shape[1]
    else:
        last = place.channels_last
        body = part(graph, None, place.maps, after=last_to_second if last else None, taps=taps)
        before = second_to_last if last else None
        head = part(graph, place.maps, place.features, before=before, after=flat if len(width) == 4 else None)
        channels = shape[3 if last else 1]
    top = part(graph, place.features, None, before=columns(width) if len(width) == 4 else None)
    features = int(torch.Size(width[1:]).numel())
    backbone = GraphBackbone(body, head, num_features=channels, width=features, stages=len(taps), batch=batch)
    return backbone.eval(), Pieces(top, batch).eval()


def _places(graph: GraphModule, found: Survey) -> Iterator[_Place]:
    """Places to cut at, the best first; the last one always serves."""
    yield from _pooled(graph, found)
    yield from _narrowed(graph, found)
    vectors = [node for node in found.narrows if len(found.shapes[node]) == 2]
    weighted = [node for node in found.live if has_weights(graph, node)]
    before = [node for node in vectors if weighted and found.live.index(node) < found.live.index(weighted[-1])]
    for node in (*before[-1:], *vectors[-1:]):
        yield _Place(node, node)


def _pooled(graph: GraphModule, found: Survey) -> Iterator[_Place]:
    for node in reversed(found.narrows):
        given, shape = first_input(node), found.shapes[node]
        name = called(graph, node)
        if given not in found.narrows or not ("pool" in name or name in ("mean", "amax", "sum", "logsumexp")):
            continue
        before, width = found.shapes[given], _vector(shape)
        if len(before) == 4 and width in (before[1], before[3]):
            yield _Place(given, _flattened(graph, found, node), channels_last=width != before[1])
            return


def _narrowed(graph: GraphModule, found: Survey) -> Iterator[_Place]:
    wide = [node for node in found.narrows if len(s := found.shapes[node]) == 4 and max(s[2:]) > 1 and min(s[1:3]) > 0]
    if not wide:
        return
    after = found.narrows[found.narrows.index(wide[-1]) + 1 :]
    features = next((node for node in after if _vector(found.shapes[node])), None)
    if features is None:
        return
    between = found.live[found.live.index(wide[-1]) + 1 : found.live.index(features) + 1]
    if not any(has_weights(graph, node) for node in between):
        last = _lies_last(found.shapes[wide[-1]])
        yield _Place(wide[-1], _flattened(graph, found, features), last)


def _lies_last(shape: Shape) -> bool:
    """Whether maps look as if their channels were last: height and width are equal more often than not."""
    return shape[1] == shape[2] != shape[3]


def _vector(shape: Shape) -> int | None:
    """How long the one vector per image is that a shape holds, or None."""
    if len(shape) == 2:
        return shape[1]
    return max(shape[1:]) if len(shape) == 4 and sorted(shape[1:])[:2] == [1, 1] else None


def _flattened(graph: GraphModule, found: Survey, node: Node) -> Node:
    """The node after which a vector per image is two-dimensional, if nothing is computed on the way there."""
    width = _vector(found.shapes[node])
    for later in found.narrows[found.narrows.index(node) :]:
        if has_weights(graph, later) or _vector(found.shapes[later]) != width:
            break
        if len(found.shapes[later]) == 2:
            return later
    return node
