# SPDX-License-Identifier: Apache-2.0
"""An exported Keras graph with channels first throughout, and with what hangs on weights alone worked out once.

Keras keeps channels last and turns them around each convolution. A turn moves behind what treats every pixel alike,
until it meets the turn back and both are gone: the same numbers are added in the same way.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from radproof.models.graph_nodes import attribute, called, calls, first_input

_aten: Any = torch.ops.aten
_LAST, _FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
_SAME_EVERYWHERE = (
    "abs add clamp clamp_max clamp_min div elu exp gelu hardsigmoid hardswish hardtanh leaky_relu maximum minimum mish "
    "mul multiply neg relu relu6 rsqrt rsub selu sigmoid silu softplus sqrt square sub subtract tanh to true_divide "
    "divide threshold where"
)
_POINTWISE = frozenset(_SAME_EVERYWHERE.split())
_OVER_PIXELS = frozenset(("mean", "amax", "sum"))


def channels_first(graph: GraphModule) -> GraphModule:
    """The same network with turns of the channels only where they are needed; the given graph is used up."""
    _drop_casts(graph)
    inner: dict[Node, Node] = {}  # node with channels last -> the same with channels first
    for node in calls(graph):
        given = first_input(node)
        if node.target is _aten.permute.default and given is not None:
            turn = [axis % 4 for axis in cast(list[int], node.args[1])]
            if turn == _LAST:
                inner[node] = given
            elif turn == _FIRST and given in inner:
                _replace(graph, node, inner[given])
            continue
        moved = _moved(graph, node, inner)
        if moved is not None:
            new, turned = moved
            if turned:
                with graph.graph.inserting_after(new):
                    back = graph.graph.call_function(_aten.permute.default, (new, _LAST))
                inner[back], new = new, back
            _replace(graph, node, new)
    _fold(graph)
    return _finished(graph)


def _drop_casts(graph: GraphModule) -> None:
    """Keras asks for float32 at every step; a graph that is float32 throughout may then run in half precision too."""
    for node in calls(graph):
        given = first_input(node)
        if node.target is _aten.to.dtype and given is not None and _kind(graph, given) == node.args[1]:
            _replace(graph, node, given)


def _kind(graph: GraphModule, node: Node) -> torch.dtype | None:
    value = attribute(graph, str(node.target)) if node.op == "get_attr" else node.meta.get("val")
    return value.dtype if isinstance(value, Tensor) else None


def _moved(graph: GraphModule, node: Node, inner: dict[Node, Node]) -> tuple[Node, bool] | None:
    """The same call on channels first, and whether its answer must be turned; None where it cannot be moved."""
    name, given = called(graph, node), first_input(node)
    with graph.graph.inserting_before(node):
        if name in _POINTWISE and any(one in inner for one in node.all_input_nodes):
            return _pointwise(graph, node, inner)
        if name == "cat" and len(node.args) > 1 and node.args[1] in (3, -1):
            parts = cast(list[Node], node.args[0])
            if all(part in inner for part in parts):
                return _call(graph, node, [inner[part] for part in parts], 1), True
        if given is None or given not in inner or len(node.args) < 2:
            return None
        rest = node.args[1]
        if (
            name in _OVER_PIXELS
            and isinstance(rest, list | tuple)
            and sorted(axis % 4 for axis in cast(Any, rest)) == [1, 2]
        ):
            keep = len(node.args) > 2 and bool(node.args[2])
            return _call(graph, node, inner[given], [2, 3], *node.args[2:]), keep
        if name == "pad" and isinstance(rest, list | tuple) and len(rest) == 6 and list(rest[:2]) == [0, 0]:
            return _call(graph, node, inner[given], list(rest[2:]), *node.args[2:]), True
    return None


def _pointwise(graph: GraphModule, node: Node, inner: dict[Node, Node]) -> tuple[Node, bool] | None:
    args: list[Any] = []
    for value in node.args:
        if isinstance(value, Node) and value not in inner:
            turned = _turned(graph, value)
            if turned is None:
                return None
            args.append(turned)
        else:
            args.append(inner[value] if isinstance(value, Node) else value)
    return _call(graph, node, *args), True


def _turned(graph: GraphModule, node: Node) -> Node | None:
    """What stands beside channels-last maps, broadcast to them, beside channels-first ones."""
    value = attribute(graph, str(node.target)) if node.op == "get_attr" else node.meta.get("val")
    if not isinstance(value, Tensor) or value.dim() > 4:
        return None
    if value.dim() == 0:
        return node
    if value.dim() < 4:
        shape = [1] * (4 - value.dim()) + list(value.shape)
        if not all(type(size) is int for size in shape):
            return None
        node = graph.graph.call_function(_aten.reshape.default, (node, shape))
    return graph.graph.call_function(_aten.permute.default, (node, _FIRST))


def _call(graph: GraphModule, node: Node, *args: Any) -> Node:
    return graph.graph.call_function(cast(Any, node.target), args, dict(node.kwargs))


def _replace(graph: GraphModule, node: Node, new: Node) -> None:
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)


def _fold(graph: GraphModule) -> None:
    """What is computed from weights alone becomes a weight."""
    values: dict[Node, Tensor] = {}
    for node in list(graph.graph.nodes):
        if node.op == "get_attr" and isinstance(value := attribute(graph, str(node.target)), Tensor):
            values[node] = value
        elif node.op == "call_function" and node.all_input_nodes and set(node.all_input_nodes) <= values.keys():
            worked = _worked_out(node, values)
            if isinstance(worked, Tensor):
                values[node] = worked
    for index, (node, value) in enumerate(values.items()):
        if node.op == "get_attr" or all(user in values for user in node.users):
            continue
        graph.register_buffer(f"folded_{index}", value.detach().contiguous())
        with graph.graph.inserting_before(node):
            _replace(graph, node, graph.graph.get_attr(f"folded_{index}"))


def _worked_out(node: Node, values: dict[Node, Tensor]) -> Any:
    known = map_arg((node.args, node.kwargs), lambda one: values[one])
    args, kwargs = cast(tuple[tuple[Any, ...], dict[str, Any]], known)
    with torch.no_grad():
        return cast(Any, node.target)(*args, **kwargs)


def _finished(graph: GraphModule) -> GraphModule:
    graph.graph.eliminate_dead_code()
    bare = GraphModule(graph, graph.graph)  # takes along only what the graph names
    bare.meta = dict(graph.meta)
    bare.graph.lint()
    return bare
