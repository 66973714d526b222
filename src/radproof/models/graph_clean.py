# SPDX-License-Identifier: Apache-2.0
"""An exported program's graph made plain: what only guards, copies or drops is gone, nothing works in place.

A graph must run in half precision, on another device, with another number of images and memory order than it was
exported with, and a hook on any node must see what that node gave.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.graph import CodeGen
from torch.fx.node import map_aggregate

from radproof.models import graph_norms
from radproof.models.graph_nodes import (
    attribute,
    called,
    calls,
    first_input,
    is_view,
    placeholder,
    without_writing,
    writes,
)

_aten: Any = torch.ops.aten
# fmt: off
_GUARDS = frozenset((
    "_guards_fn", "guardsfn", "_assert_tensor_metadata", "_assert_async", "_assert_scalar", "_assert",
    "sym_constrain_range", "sym_constrain_range_for_size", "_check", "_check_is_size", "print",
))
# fmt: on
# fmt: off
_DROPS = frozenset((
    "dropout", "dropout_", "feature_dropout", "feature_dropout_", "alpha_dropout", "alpha_dropout_",
    "feature_alpha_dropout", "feature_alpha_dropout_", "dropout1d", "dropout2d", "dropout3d", "alphadropout",
    "featurealphadropout", "stochasticdepth", "stochastic_depth", "droppath", "drop_path",
))
# fmt: on
_COPIES = frozenset(("clone", "contiguous", "alias", "lift_fresh", "lift_fresh_copy", "identity", "positive"))
_DETACHES = frozenset(("detach", "detach_"))
_CASTS = frozenset(("to", "_to_copy"))
_NARROW = (torch.float16, torch.bfloat16, torch.float64)


def tidy(graph: GraphModule) -> GraphModule:
    """The same network in evaluation mode as a plain graph with frozen float32 weights, which it shares.

    The graph given is used up. What was changed beyond form is told by `notes_of`.
    """
    notes = list(notes_of(graph))
    graph.eval()
    graph.graph.set_codegen(CodeGen())
    # A new module leaves behind what an exported program's own module checks and converts on the way in and out.
    graph = GraphModule(graph, graph.graph)
    _attributes(graph)
    notes += _float32(graph)
    _drop_guards(graph)
    notes += graph_norms.evaluate(graph)
    notes += _drop_dropout(graph)
    _functional(graph)
    notes += _drop_copies(graph)
    _devices(graph)
    _reshape(graph)
    _cancel_permutes(graph)
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.graph.lint()
    graph.recompile()
    graph.requires_grad_(False)
    graph.meta["notes"] = tuple(dict.fromkeys(notes))
    return graph


def notes_of(graph: GraphModule) -> tuple[str, ...]:
    """What `tidy` changed beyond form, in words for a report."""
    return tuple(graph.meta.get("notes", ()))


def _float32(graph: GraphModule) -> list[str]:
    kinds = {tensor.dtype for tensor in (*graph.parameters(), *graph.buffers()) if tensor.is_floating_point()}
    plain: Callable[[Any], Any] = lambda value: torch.float32 if value in _NARROW else value  # noqa: E731
    for node in calls(graph):
        node.args = cast(Any, map_aggregate(node.args, plain))
        node.kwargs = cast(Any, map_aggregate(node.kwargs, plain))
    graph.float()
    other = sorted(str(kind).removeprefix("torch.") for kind in kinds - {torch.float32})
    return [f"weights stored as {', '.join(other)} are computed in float32"] if other else []


def _drop_guards(graph: GraphModule) -> None:
    for node in reversed(list(calls(graph))):
        if called(graph, node) in _GUARDS and not node.users:
            graph.graph.erase_node(node)


def _drop_dropout(graph: GraphModule) -> list[str]:
    notes: list[str] = []
    for node in calls(graph):
        name, given = called(graph, node), first_input(node)
        if name == "native_dropout":
            _take_first(graph, node)
            notes.append("dropout was left on in the file: taken out")
        elif name in _DROPS and given is not None:
            if any(value is True for value in (*node.args[2:3], node.kwargs.get("training"))):
                notes.append("dropout was left on in the file: taken out")
            _skip(graph, node, given)
    return notes


def _take_first(graph: GraphModule, node: Node) -> None:
    given = cast(Node, first_input(node))
    for item in list(node.users):
        _skip(graph, item, given)
    graph.graph.erase_node(node)


def _functional(graph: GraphModule) -> None:
    """Calls in place become calls that leave their argument alone, unless a view of it would miss the change."""
    for module in graph.modules():
        if getattr(module, "inplace", False) is True:
            cast(Any, module).inplace = False
    order = {node: index for index, node in enumerate(graph.graph.nodes)}
    for node in calls(graph):
        given = first_input(node)
        if given is None or given.op == "get_attr" or not writes(graph, node):
            continue
        later = [user for user in given.users if order[user] > order[node]]
        if is_view(graph, given) or _viewed(graph, given, order, order[node]):
            continue
        if node.kwargs.get("inplace") is True:
            node.kwargs = {**node.kwargs, "inplace": False}
        elif (plain := without_writing(node)) is not None:
            node.target = plain
        else:
            continue
        for user in later:
            user.replace_input_with(given, node)


def _viewed(graph: GraphModule, node: Node, order: dict[Node, int], when: int) -> bool:
    """Whether a view of a node, made before `when`, is used after it."""
    views = [user for user in node.users if order[user] < when and is_view(graph, user)]
    return any(any(order[user] > when for user in view.users) or _viewed(graph, view, order, when) for view in views)


def _drop_copies(graph: GraphModule) -> list[str]:
    notes: list[str] = []
    in_place = any(writes(graph, node) for node in calls(graph))
    for node in calls(graph):
        name, given = called(graph, node), first_input(node)
        if given is None:
            continue
        if name in _DETACHES:
            notes.append("a detach, which hides gradients, was taken out")
            _skip(graph, node, given)
        elif (name in _COPIES and not in_place) or (name in _CASTS and not _casts(graph, node)):
            _skip(graph, node, given)
    return notes


def _casts(graph: GraphModule, node: Node) -> bool:
    """Whether a `to` changes the kind of numbers; rewritten so that it leaves the device alone."""
    values = [*node.args[1:], node.kwargs.get("dtype")]
    kinds = [value for value in values if isinstance(value, torch.dtype)]
    if kinds:
        node.op, node.target, node.args, node.kwargs = "call_function", _aten.to.dtype, (node.args[0], kinds[0]), {}
    return bool(kinds) or any(isinstance(value, Node) for value in node.args[1:])


def _devices(graph: GraphModule) -> None:
    """Constants that the graph makes on the way are made where its input is."""
    here: Node | None = None
    for node in calls(graph):
        if not isinstance(node.kwargs.get("device"), torch.device):
            continue
        if here is None:
            start = placeholder(graph)
            with graph.graph.inserting_after(start):
                here = graph.graph.call_function(getattr, (start, "device"))
        node.kwargs = {**node.kwargs, "device": here, **({"pin_memory": False} if "pin_memory" in node.kwargs else {})}


def _reshape(graph: GraphModule) -> None:
    """Views become reshapes: maps may lie channels-last. A batch size that was read off the input becomes -1."""
    for node in calls(graph):
        name = called(graph, node)
        if (
            name in ("view", "_unsafe_view", "reshape")
            and len(node.args) > 1
            and not isinstance(node.args[1], torch.dtype)
        ):
            shape: Any = node.args[1] if isinstance(node.args[1], list | tuple) else node.args[1:]
            node.op, node.target = "call_function", _aten.reshape.default
            node.args = (node.args[0], _unbatched(list(shape)))
        elif name == "as_strided" and (given := first_input(node)) is not None:
            with graph.graph.inserting_before(node):
                node.replace_input_with(given, graph.graph.call_function(_aten.contiguous.default, (given,)))
    for node in calls(graph):
        shape = cast(Any, node.args[1]) if node.target is _aten.reshape.default else ()
        if len(shape) == 2 and isinstance(shape[0], Node) and shape[1] == -1 and first_size(shape[0]):
            node.target, node.args = _aten.flatten.using_ints, (node.args[0], 1)


def _unbatched(shape: list[Any]) -> list[Any]:
    first, rest = (shape[0], shape[1:]) if shape else (None, [])
    free = (
        isinstance(first, Node) and first_size(first) and all(isinstance(value, int) and value >= 0 for value in rest)
    )
    return [-1, *rest] if free else shape


def first_size(node: Node) -> bool:
    """Whether a node reads how many images there are: size(x, 0) in any spelling."""
    given, rest = first_input(node), tuple(node.args)[1:]
    if rest != (0,) or given is None:
        return False
    if node.target in (_aten.sym_size.int, "size"):
        return True
    told = called_plainly(given), tuple(given.args)[1:]
    return called_plainly(node) == "getitem" and told in (("size", ()), ("getattr", ("shape",)))


def called_plainly(node: Node) -> str:
    """Name of a function or method that a node calls."""
    return node.target if isinstance(node.target, str) else str(getattr(node.target, "__name__", ""))


def _cancel_permutes(graph: GraphModule) -> None:
    for node in calls(graph):
        given = first_input(node)
        if given is None or node.target is not _aten.permute.default or given.target is not _aten.permute.default:
            continue
        outer, inner = cast(list[int], node.args[1]), cast(list[int], given.args[1])
        both = [inner[axis] for axis in outer]
        if both == sorted(both):
            _skip(graph, node, cast(Node, first_input(given)))


def _attributes(graph: GraphModule) -> None:
    """Tensors that hang on the graph as plain attributes become buffers, so that they move with it."""
    known = {name for name, _ in (*graph.named_parameters(), *graph.named_buffers())}
    for node in graph.graph.nodes:
        name = str(node.target)
        if node.op != "get_attr" or name in known:
            continue
        value = attribute(graph, name)
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            owner, _, own = name.rpartition(".")
            holder = graph.get_submodule(owner)
            delattr(holder, own)
            holder.register_buffer(own, value.detach())


def _skip(graph: GraphModule, node: Node, given: Node) -> None:
    node.replace_all_uses_with(given)
    graph.graph.erase_node(node)
