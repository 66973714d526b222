# SPDX-License-Identifier: Apache-2.0
"""Small words about nodes of a torch.fx graph, whoever traced it: what they call, and what shares memory with what."""

import operator
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn
from torch._ops import OpOverload
from torch.fx import GraphModule, Node

# fmt: off
_VIEWS = frozenset((
    "view", "reshape", "flatten", "unflatten", "permute", "transpose", "t", "mT", "squeeze", "unsqueeze", "expand",
    "expand_as", "narrow", "select", "slice", "chunk", "split", "tensor_split", "unbind", "unfold", "view_as",
    "reshape_as", "contiguous", "to", "detach", "getitem", "movedim", "swapaxes", "alias", "diagonal", "as_strided",
    "type_as", "float", "type",
))
# fmt: on


def called(graph: GraphModule, node: Node) -> str:
    """What a node calls, without its overload: conv2d, relu_, adaptiveavgpool2d (a module), …; '' of inputs."""
    if node.op == "call_module":
        return type(graph.get_submodule(str(node.target))).__name__.lower()
    if node.op == "call_method":
        return str(node.target)
    if isinstance(node.target, OpOverload):
        return str(node.target.overloadpacket.__name__)
    return str(getattr(node.target, "__name__", "")) if node.op == "call_function" else ""


def is_view(graph: GraphModule, node: Node) -> bool:
    """Whether what a node gives may share memory with what it is given."""
    if isinstance(node.target, OpOverload):
        returns = cast(Any, node.target)._schema.returns
        return any(value.alias_info is not None and not value.alias_info.is_write for value in returns)
    return called(graph, node) in _VIEWS


def writes(graph: GraphModule, node: Node) -> bool:
    """Whether a node changes its first argument in place."""
    if isinstance(node.target, OpOverload):
        arguments = cast(Any, node.target)._schema.arguments
        return any(value.alias_info is not None and value.alias_info.is_write for value in arguments)
    if node.op == "call_module":
        return bool(getattr(graph.get_submodule(str(node.target)), "inplace", False))
    name = called(graph, node)
    return (
        (name.endswith("_") and not name.endswith("__"))
        or name in (*_IN_PLACE, "setitem")
        or node.kwargs.get("inplace") is True
    )


_IN_PLACE = {
    f"i{name}": getattr(operator, name) for name in ("add", "sub", "mul", "truediv", "floordiv", "pow", "matmul")
}


def without_writing(node: Node) -> Any:
    """The same call that leaves its argument alone, or None where there is none."""
    target: Any = node.target
    if isinstance(target, OpOverload):
        packet = getattr(torch.ops.aten, str(target.overloadpacket.__name__).rstrip("_"), None)
        return getattr(packet, str(cast(Any, target)._overloadname), None) if packet is not None else None
    if node.op == "call_method":
        plain = str(target).rstrip("_")
        return plain if hasattr(torch.Tensor, plain) else None
    name = str(getattr(target, "__name__", ""))
    if name in _IN_PLACE:
        return _IN_PLACE[name]
    plain = getattr(torch, name.rstrip("_"), None) or getattr(nn.functional, name.rstrip("_"), None)
    return plain if plain is not target else None


def first_input(node: Node) -> Node | None:
    """The node that a node's first argument is."""
    given = node.args[0] if node.args else node.kwargs.get("input", node.kwargs.get("self"))
    return given if isinstance(given, Node) else None


def attribute(graph: nn.Module, target: str) -> Any:
    """What a get_attr node names."""
    found: Any = graph
    for part in target.split("."):
        found = getattr(found, part)
    return found


def placeholder(graph: GraphModule) -> Node:
    """The one input of a graph."""
    return next(node for node in graph.graph.nodes if node.op == "placeholder")


def output(graph: GraphModule) -> Node:
    """The node at a graph's end."""
    return next(node for node in reversed(graph.graph.nodes) if node.op == "output")


def calls(graph: GraphModule) -> Iterator[Node]:
    """All nodes that call something, in order, safe to erase on the way."""
    return (node for node in list(graph.graph.nodes) if node.op.startswith("call"))
