# SPDX-License-Identifier: Apache-2.0
"""Where an imported graph narrows to one node, and what shapes pass there: the places where it may be cut."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from radproof.models.graph_clean import first_size
from radproof.models.graph_nodes import calls, output, placeholder

_aten: Any = torch.ops.aten
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Survey:
    """A graph walked once: shapes of tensors, the nodes that its answer hangs on, and those that all paths take."""

    shapes: dict[Node, Shape]
    live: list[Node]  # in order, from the input to the answer
    narrows: list[Node]  # of these, the ones that no path goes around
    answer: Tensor


def survey(graph: GraphModule, example: Tensor) -> Survey:
    """Walk a graph with images (N, C, H, W). Raises whatever the graph raises."""
    walker = _Walker(graph)
    with torch.no_grad():
        answer = walker.run(example)
    _anchor(graph, walker.shapes, len(example))
    live = _live(graph, walker.shapes)
    return Survey(walker.shapes, live, _narrows(live, walker.shapes), cast(Tensor, answer))


class _Walker(Interpreter):
    def __init__(self, graph: GraphModule) -> None:
        super().__init__(graph)
        self.shapes: dict[Node, Shape] = {}

    def run_node(self, n: Node) -> Any:
        found = super().run_node(n)
        if isinstance(found, Tensor) and n.op != "get_attr":
            self.shapes[n] = tuple(found.shape)
        return found


def _anchor(graph: GraphModule, shapes: dict[Node, Shape], batch: int) -> None:
    """Read the number of images off the tensor at hand instead of the input, so that parts can run by themselves."""
    for node in calls(graph):
        if not first_size(node):
            continue
        for user in list(node.users):
            near = next((given for given in user.all_input_nodes if shapes.get(given, (0,))[:1] == (batch,)), None)
            if near is not None and near not in node.all_input_nodes:
                with graph.graph.inserting_before(user):
                    user.replace_input_with(node, graph.graph.call_function(_aten.sym_size.int, (near, 0)))
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _live(graph: GraphModule, shapes: dict[Node, Shape]) -> list[Node]:
    """Nodes between input and answer; what only asks where the input lies does not count."""
    reached = {placeholder(graph)}
    for node in graph.graph.nodes:
        if any(given in reached for given in node.all_input_nodes) and not is_place(node):
            reached.add(node)
    wanted = {output(graph)}
    for node in reversed(graph.graph.nodes):
        if any(user in wanted for user in node.users):
            wanted.add(node)
    return [node for node in graph.graph.nodes if node in reached and node in wanted and node.op != "output"]


def is_place(node: Node) -> bool:
    """Whether a node only asks on which device a tensor lies."""
    return node.target is getattr and node.args[1:] == ("device",)


def _narrows(live: list[Node], shapes: dict[Node, Shape]) -> list[Node]:
    order = {node: index for index, node in enumerate(live)}
    found: list[Node] = []
    furthest = 0
    for index, node in enumerate(live):
        if furthest <= index and node in shapes:
            found.append(node)
        furthest = max([furthest, *(order[user] for user in node.users if user in order)])
    return found
