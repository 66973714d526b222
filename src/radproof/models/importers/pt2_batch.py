# SPDX-License-Identifier: Apache-2.0
"""What an exported program takes: channels, size, order of axes; and how many images, more than it says if it can."""

import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import GraphModule

from radproof.errors import BadModel
from radproof.models.graph_nodes import calls, placeholder

_aten: Any = torch.ops.aten
USUAL = (224, 224)
_LARGEST = 4096


@dataclass(frozen=True)
class Takes:
    """One image or several: channels, height and width (None: any), number (None: any), channels last."""

    channels: int
    size: tuple[int, int] | None
    batch: int | None
    last: bool

    @classmethod
    def of(cls, shape: list[int | None], file: str) -> "Takes":
        """From the shape that the program states; None where a number is free."""
        last = len(shape) == 4 and shape[1] not in (1, 3) and shape[3] in (1, 3)
        if len(shape) != 4 or (shape[1] not in (1, 3) and not last):
            told = " × ".join("any" if size is None else str(size) for size in shape[:6])
            raise BadModel(f"{file} takes {told}; expected images of 1 or 3 channels, (N, C, H, W) or (N, H, W, C)")
        channels, *sides = (shape[3], shape[1], shape[2]) if last else shape[1:]
        if any(side is not None and not 1 <= side <= _LARGEST for side in (*sides, shape[0])):
            raise BadModel(
                f"{file} takes {shape[0]} images of {sides[0]} × {sides[1]}; expected sides up to {_LARGEST}"
            )
        size = None if None in sides else (cast(int, sides[0]), cast(int, sides[1]))
        if size is None and any(side is not None for side in sides):
            raise BadModel(f"{file} takes images of one free side only; export it for one size, or for any")
        return cls(cast(int, channels), size, shape[0], last)

    def images(self, count: int) -> Tensor:
        """Random ones, channels first."""
        return torch.rand(count, self.channels, *(self.size or USUAL), generator=torch.Generator().manual_seed(count))


def permuted(graph: GraphModule, takes: Takes) -> GraphModule:
    """The graph for images with channels second."""
    if takes.last:
        start = placeholder(graph)
        with graph.graph.inserting_after(start):
            last = graph.graph.call_function(_aten.permute.default, (start, [0, 2, 3, 1]))
        start.replace_all_uses_with(last, lambda user: user is not last)
        graph.recompile()
    return graph


def widened(graph: GraphModule, takes: Takes, file: str) -> tuple[GraphModule, int | None, str]:
    """The graph for any number of images, if it then answers as before; else the number that it takes; and a note."""
    batch = takes.batch
    if batch is None:
        return graph, None, ""
    wide = copy.deepcopy(graph)
    for node in calls(wide):
        shape: Any = node.args[1] if len(node.args) > 1 else None
        if node.target is _aten.reshape.default and shape and shape[0] == batch and -1 not in shape:
            node.update_arg(1, [-1, *shape[1:]])
        elif node.target is _aten.reshape.default and list(shape or ()) == [batch, -1]:
            node.target = _aten.flatten.using_ints
            node.update_arg(1, 1)
    wide.recompile()
    images = takes.images(2 * batch + 1)
    try:
        with torch.no_grad():
            answers = torch.cat([graph(piece) for piece in images[: 2 * batch].split(batch)])
            together = wide(images)
    except Exception:  # a layer that holds on to the number of images says so in its own way
        return graph, batch, ""
    if together.shape[:1] != (len(images),) or not torch.allclose(together[:-1], answers, rtol=1e-4, atol=1e-4):
        return graph, batch, ""
    return wide, None, f"the file takes {batch} at a time; here it takes any number, with the same answers"
