# SPDX-License-Identifier: Apache-2.0
"""Stages of an imported graph, about as many as timm names: the ends of blocks at each resolution and width.

Nodes that all paths take fall into runs of equal shape. A run counts where paths meet in it, as they do at the end of
residual and dense blocks; of a resolution at which nothing meets, the last run counts; so do the final maps.
"""

from dataclasses import dataclass

from torch import nn
from torch.fx import GraphModule, Node

from radproof.models.graph_nodes import attribute, called
from radproof.models.graph_shapes import Shape, Survey

_MOST = 20


@dataclass
class _Run:
    shape: Shape
    last: Node
    meets: bool = False


def stages_of(graph: GraphModule, found: Survey, maps: Node) -> list[Node]:
    """The last node of each stage, in order, up to the maps; at most 20."""
    runs = _runs(graph, found, maps)
    kept = [run for index, run in enumerate(runs) if run.meets or _alone(runs, index) or run.last is maps]
    while len(kept) > _MOST:
        kept = [run for index, run in enumerate(kept) if index % 2 or run is kept[-1]]
    return [run.last for run in kept]


def has_weights(graph: GraphModule, node: Node) -> bool:
    """Whether a node computes with weights of the graph."""
    if node.op == "call_module":
        return any(True for _ in graph.get_submodule(str(node.target)).parameters())
    read = [attribute(graph, str(given.target)) for given in node.all_input_nodes if given.op == "get_attr"]
    return any(isinstance(value, nn.Parameter) or getattr(value, "ndim", 0) > 1 for value in read)


def _runs(graph: GraphModule, found: Survey, maps: Node) -> list[_Run]:
    narrow = set(found.narrows)
    runs: list[_Run] = []
    weighted = False
    for node in found.live:
        weighted = weighted or has_weights(graph, node)
        shape = found.shapes.get(node, ())
        if weighted and node in narrow and len(shape) == 4 and "pad" not in called(graph, node):
            if not runs or sorted(runs[-1].shape) != sorted(shape):
                runs.append(_Run(shape, node))
            if runs[-1].shape == shape:  # not the same maps in another order of axes, as some normalisations want them
                runs[-1].last = node
                runs[-1].meets = runs[-1].meets or _meets(found, node)
        if node is maps:
            break
    return runs


def _meets(found: Survey, node: Node) -> bool:
    """Whether several maps of this resolution come together in a node: a sum, a concatenation, no gate."""
    shape, live = found.shapes[node], set(found.live)
    return sum(given in live and found.shapes.get(given, ())[2:] == shape[2:] for given in node.all_input_nodes) > 1


def _alone(runs: list[_Run], index: int) -> bool:
    """Whether a run is the last of its resolution, and nothing meets at that resolution."""
    here = [run for run in runs if run.shape[2:] == runs[index].shape[2:]]
    return here[-1] is runs[index] and not any(run.meets for run in here)
