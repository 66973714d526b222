# SPDX-License-Identifier: Apache-2.0
"""The end of an imported graph: one tensor of logits, with the softmax or sigmoid behind them taken off."""

from collections.abc import Mapping
from typing import Any, cast

from torch.fx import GraphModule, Node

from radproof.core.types import Head
from radproof.errors import BadModel
from radproof.models.graph_nodes import called, first_input, output

# fmt: off
_THROUGH = frozenset((
    "to", "_to_copy", "reshape", "view", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "identity",
    "contiguous", "clone", "alias", "float", "cast", "type",
))
# fmt: on
_HEADS: dict[str, Head] = {
    **dict.fromkeys(("softmax", "_softmax", "special_softmax", "log_softmax", "_log_softmax", "logsoftmax"), "softmax"),
    **dict.fromkeys(("sigmoid", "special_expit", "expit", "logsigmoid", "log_sigmoid"), "sigmoid"),
}
# fmt: off
_STEPS = frozenset((
    "argmax", "argmin", "round", "sign", "floor", "ceil", "trunc", "gt", "ge", "lt", "le", "eq", "ne", "topk",
    "one_hot", "heaviside", "bucketize", "bool", "int", "long",
))
# fmt: on


def take_off(graph: GraphModule) -> tuple[GraphModule, Head | None, str | None]:
    """The graph with its one output bare of a closing softmax or sigmoid; what it says of the head; a note on it.

    Works on the graph itself. Raises BadModel where the graph gives several tensors, or none.
    """
    end = output(graph)
    last = _only(end.args[0])
    end.args = (last,)
    node = last
    while called(graph, node) in _THROUGH and (given := first_input(node)) is not None:
        node = given
    name = called(graph, node)
    head, note = _HEADS.get(name), None
    given = first_input(node)
    if head is not None and given is not None:
        node.replace_all_uses_with(given)
        graph.graph.erase_node(node)
        note = f"the {name.strip('_')} at the end was taken off: attacks climb logits"
    elif name in _STEPS:
        note = f"the network ends in {name}, which has no gradient: attacks that climb one will find nothing"
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph, head if note and name in _HEADS else None, note


def _only(given: Any) -> Node:
    found = _tensors(given)
    if len(found) != 1:
        names = ", ".join(node.name for node in found[:6]) or "none"
        raise BadModel(
            f"the network gives {len(found)} tensors ({names}), expected one with its logits; export a wrapper that "
            "returns only those"
        )
    return found[0]


def _tensors(given: Any) -> list[Node]:
    if isinstance(given, Node):
        return [given]
    if isinstance(given, Mapping):
        given = list(cast(Mapping[str, Any], given).values())
    if isinstance(given, list | tuple):
        return list(dict.fromkeys(node for part in cast(list[Any], given) for node in _tensors(part)))
    return []
