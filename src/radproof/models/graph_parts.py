# SPDX-License-Identifier: Apache-2.0
"""A stretch of a graph as a graph of its own, which shares the weights of the whole."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node

from radproof.models.graph_nodes import is_view, output, placeholder, writes
from radproof.models.graph_shapes import Shape, is_place

_aten: Any = torch.ops.aten
Step = Callable[[Graph, Node], Node]


def part(
    graph: GraphModule,
    start: Node | None,
    end: Node | None,
    *,
    before: Step | None = None,
    after: Step | None = None,
    taps: Mapping[Node, nn.Module] | None = None,
) -> GraphModule:
    """From behind `start` (None: the input) up to `end` (None: the answer); `taps` let these nodes' values pass."""
    begin, last = start or placeholder(graph), end or output(graph).all_input_nodes[0]
    wanted = _wanted(graph, begin, last)
    made = Graph()
    given = made.placeholder("x")
    known = {begin: before(made, given) if before else given}
    root = _Root(graph)
    for node in graph.graph.nodes:
        if is_place(node) and node in wanted:
            known[node] = made.call_function(getattr, (given, "device"))
        elif node in wanted and node is not begin:
            known[node] = made.node_copy(node, known.__getitem__)
        if taps and node in taps:
            name = f"tap_{len(root.taps)}"
            root.taps[name] = taps[node]
            known[node] = made.call_module(name, (known[node],))
    made.output(after(made, known[last]) if after else known[last])
    return GraphModule(root.all(made), made)


class _Root:
    """Everything that a part's nodes may name."""

    def __init__(self, graph: GraphModule) -> None:
        self.graph = graph
        self.taps: dict[str, nn.Module] = {}

    def all(self, made: Graph) -> dict[str, Any]:
        found: dict[str, Any] = dict(self.taps)
        for node in made.nodes:
            if node.op in ("get_attr", "call_module") and node.target not in found:
                value: Any = self.graph
                for name in str(node.target).split("."):
                    value = getattr(value, name)
                found[str(node.target)] = value
        return found


def _wanted(graph: GraphModule, begin: Node, last: Node) -> set[Node]:
    order = {node: index for index, node in enumerate(graph.graph.nodes)}
    wanted: set[Node] = set()
    open_ = [last]
    while open_:
        node = open_.pop()
        if node in wanted or node is begin:
            continue
        wanted.add(node)
        open_.extend([] if is_place(node) else node.all_input_nodes)
        open_.extend(user for user in _written(graph, node) if order[user] < order[last])
    return wanted


def _written(graph: GraphModule, node: Node) -> list[Node]:
    """Calls that change what a node gave in place, by itself or by a view of it."""
    found = [user for user in node.users if writes(graph, user) and user.all_input_nodes[0] is node]
    for view in (user for user in node.users if is_view(graph, user)):
        found += _written(graph, view)
    return found


def flat(graph: Graph, node: Node) -> Node:
    """(N, …) -> (N, F)."""
    return graph.call_function(_aten.flatten.using_ints, (node, 1))


def small(graph: Graph, node: Node) -> Node:
    """(N, F) -> maps (N, F, 1, 1)."""
    return graph.call_function(torch.unflatten, (node, 1, (-1, 1, 1)))


def columns(shape: Shape) -> Step:
    """(N, F) -> (N, *shape after the first)."""
    return lambda graph, node: graph.call_function(_aten.reshape.default, (node, [-1, *shape[1:]]))


def last_to_second(graph: Graph, node: Node) -> Node:
    """Channels last -> channels second."""
    return graph.call_function(_aten.permute.default, (node, [0, 3, 1, 2]))


def second_to_last(graph: Graph, node: Node) -> Node:
    """Channels second -> channels last."""
    return graph.call_function(_aten.permute.default, (node, [0, 2, 3, 1]))
