# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation of a traced graph in evaluation mode, in the one spelling that knows gradients everywhere."""

from typing import Any, cast

import torch
from torch.fx import GraphModule, Node

from radproof.models.graph_nodes import called, calls

_aten: Any = torch.ops.aten
# Name -> where training, momentum and epsilon stand among the arguments; None: never in training.
_TUPLES: dict[str, tuple[int | None, int, int]] = {
    "native_batch_norm": (5, 6, 7),
    "_native_batch_norm_legit": (5, 6, 7),
    "_native_batch_norm_legit_functional": (5, 6, 7),
    "_native_batch_norm_legit_no_training": (None, 5, 6),
    "_batch_norm_no_update": (None, 5, 6),
    "_batch_norm_with_update": (None, 5, 6),
    "_batch_norm_with_update_functional": (None, 5, 6),
    "cudnn_batch_norm": (5, 6, 7),
}
_LEFT_ON = "batch normalisation was left in training mode in the file: it now uses its running statistics"


def evaluate(graph: GraphModule) -> list[str]:
    """Turn every batch normalisation with running statistics to evaluation; what was found on, in words."""
    notes: list[str] = []
    for node in calls(graph):
        name = called(graph, node)
        if name == "batch_norm" and node.target is _aten.batch_norm.default:
            notes += _plain(node)
        elif name in _TUPLES and len(node.args) > 6:
            notes += _from_tuple(graph, node, *_TUPLES[name])
        elif called(graph, node) in ("add_", "copy_") and _counter(node) and not node.users:
            graph.graph.erase_node(node)
    return notes


def _plain(node: Node) -> list[str]:
    if node.args[5] is not True or node.args[3] is None:
        return []
    node.update_arg(5, False)
    return [_LEFT_ON]


def _from_tuple(graph: GraphModule, node: Node, training: int | None, momentum: int, epsilon: int) -> list[str]:
    if node.args[3] is None or not all(item.args[1] == 0 for item in node.users if item.users):
        return []
    with graph.graph.inserting_before(node):
        arguments = (*node.args[:5], False, node.args[momentum], node.args[epsilon], False)
        plain = graph.graph.call_function(_aten.batch_norm.default, arguments)
    for item in list(node.users):
        item.replace_all_uses_with(plain)
        graph.graph.erase_node(item)
    on = "update" in called(graph, node).replace("no_update", "") or (
        training is not None and node.args[training] is True
    )
    graph.graph.erase_node(node)
    return [_LEFT_ON] if on else []


def _counter(node: Node) -> bool:
    given = cast(Any, node.args[0]) if node.args else None
    return isinstance(given, Node) and given.op == "get_attr" and "num_batches_tracked" in str(given.target)
