# SPDX-License-Identifier: Apache-2.0
"""Networks of Keras, .keras and .h5, as graphs of plain torch calls.

Checked before Keras is imported: container, links, sizes, and every class and function that the configuration names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from radproof.core.types import Head
from radproof.errors import BadModel
from radproof.models.graph import notes_of, take_off, tidy
from radproof.models.imported import Imported
from radproof.models.importers.keras_build import rebuilt
from radproof.models.importers.keras_checks import Cleaner
from radproof.models.importers.keras_file import open_keras_file
from radproof.models.importers.keras_hints import formats, hints_of
from radproof.models.importers.keras_layout import channels_first

USUAL_SIZE = 224
LARGEST_SIDE = 4096
_BATCH = 2**15
_MAPS = 2**28  # numbers in one feature map of one image
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class _Takes:
    """What a network is given: images of one size, or of any."""

    channels: int
    size: tuple[int, int] | None
    last: bool  # channels last

    @property
    def example(self) -> Tensor:
        height, width = self.size or (USUAL_SIZE, USUAL_SIZE)
        return torch.rand(2, self.channels, height, width, generator=torch.Generator().manual_seed(0))


class _ChannelsFirst(nn.Module):
    """A Keras network in evaluation mode that is given (N, C, H, W)."""

    def __init__(self, network: nn.Module, last: bool) -> None:
        super().__init__()
        self.network = network
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.permute(0, 2, 3, 1) if self.last else x, training=False)


def read_keras(path: Path) -> Imported:
    """The network in a .keras or .h5 file, with float32 weights.

    Raises BadModel for a file that is broken, that could run code or read other files, that declares more than it
    holds, or that is no classifier of images; BadInput where Keras is missing.
    """
    path = Path(path)
    file = open_keras_file(path)
    cleaner = Cleaner(path.name, file.elements)
    config = cleaner.network(file.config)
    layout, (hints, told) = _layout(config, path.name), hints_of(config)  # Keras uses the configuration up
    network = rebuilt(config, path, zipped=file.zipped, elements=file.elements)
    takes, classes = _takes(network, layout, path.name), _classes(network, path.name)
    wrapped = _ChannelsFirst(network, takes.last)
    graph, takes = _exported(wrapped, takes, path.name)
    graph = channels_first(tidy(graph))
    graph, head, note = take_off(graph)
    _same(graph, wrapped, head, takes.example, path.name)
    notes = (*cleaner.notes, *told, *notes_of(graph), *([note] if note else []))
    return Imported(
        graph, takes.channels, takes.size, classes, head=head, hints=hints, notes=tuple(dict.fromkeys(notes))
    )


def _layout(config: Mapping[str, Any], name: str) -> bool:
    """Whether channels come last. Raises BadModel for a mixture."""
    found = formats(config)
    if len(found) > 1:
        raise BadModel(f"{name} mixes channels_first and channels_last; rebuild it with one data_format")
    return found != {"channels_first"}


def _takes(network: nn.Module, last: bool, name: str) -> _Takes:
    shapes = [tuple(given.shape) for given in cast(Any, network).inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        told = ", ".join(str(shape) for shape in shapes[:4])
        raise BadModel(f"{name} takes {told}; expected one image, {'(N, H, W, C)' if last else '(N, C, H, W)'}")
    height, width, channels = shapes[0][1:] if last else (*shapes[0][2:], shapes[0][1])
    if channels not in (1, 3):
        raise BadModel(f"{name} takes images of {channels} channels; radproof's have 1 or 3")
    if any(side is not None and not 1 <= side <= LARGEST_SIDE for side in (height, width)):
        raise BadModel(f"{name} takes images of {height} × {width} pixels; expected sides up to {LARGEST_SIDE}")
    size = None if height is None or width is None else (int(height), int(width))
    return _Takes(channels, size, last)


def _classes(network: nn.Module, name: str) -> int:
    shapes = [tuple(given.shape) for given in cast(Any, network).outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][1] is None:
        told = ", ".join(str(shape) for shape in shapes[:4])
        raise BadModel(f"{name} answers {told}; expected (N, K), one number for each of K classes")
    return int(shapes[0][1])


def _exported(network: nn.Module, takes: _Takes, name: str) -> tuple[GraphModule, _Takes]:
    """The graph, for any size where the network takes any, or else for the usual one alone, and says so."""
    count = torch.export.Dim("n", min=1, max=_BATCH)
    if takes.size is None:
        free = torch.export.Dim.AUTO
        try:
            graph = _export(network, takes.example, {0: count, 2: free, 3: free})
            if _any_size(graph, network, takes):
                return _bounded(graph, name), takes
        except Exception:  # torch.export raises whatever a layer raises; a size of its own is then tried
            pass
        takes = _Takes(takes.channels, (USUAL_SIZE, USUAL_SIZE), takes.last)
    try:
        graph = _export(network, takes.example, {0: count})
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise BadModel(
            f"{name}: this network cannot be written as one torch graph ({said}); the file's owner can convert it "
            "where it was made: radproof model convert FILE --out FOLDER"
        ) from None
    return _bounded(graph, name), takes


def _export(network: nn.Module, example: Tensor, free: Mapping[int, Any]) -> GraphModule:
    with torch.no_grad():
        program = torch.export.export(network, (example,), dynamic_shapes=({**free},), strict=False)
    graph = program.module(check_guards=False)
    for refusing in ("eval", "train"):  # all that an exported module's own ones do
        vars(graph).pop(refusing, None)
    return graph


def _any_size(graph: GraphModule, network: nn.Module, takes: _Takes) -> bool:
    x = takes.example[:, :, :160, :128]
    with torch.no_grad():
        return bool(torch.allclose(graph(x), network(x), rtol=_TOLERANCE, atol=_TOLERANCE))


def _bounded(graph: GraphModule, name: str) -> GraphModule:
    """Raises BadModel for feature maps beyond reason, before any of them is made."""
    for node in graph.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, Tensor) and node.op == "call_function":
            sizes = [size for size in value.shape if type(size) is int]
            if torch.Size(sizes).numel() > _MAPS:
                raise BadModel(f"{name} makes maps of {tuple(sizes)} numbers for each image; it is refused")
    return graph


def _same(graph: GraphModule, network: nn.Module, head: Head | None, x: Tensor, name: str) -> None:
    """Raises BadModel unless the graph answers as Keras does."""
    with torch.no_grad():
        logits, answer = graph(x), network(x)
        own = logits if head is None else logits.softmax(-1) if head == "softmax" else logits.sigmoid()
    if not torch.allclose(own, answer, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
        raise BadModel(
            f"{name}: as a torch graph it answers otherwise than in Keras, by "
            f"{float((own - answer).abs().max()):.2g}; please report this"
        )
