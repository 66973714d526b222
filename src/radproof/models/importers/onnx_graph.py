# SPDX-License-Identifier: Apache-2.0
"""A checked ONNX file as a graph of torch calls: each node in turn, without recursion, constants computed at once."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule

from radproof.errors import BadModel
from radproof.models.importers.onnx_checks import BLACK_BOX, label, opset_of
from radproof.models.importers.onnx_ops import operators
from radproof.models.importers.onnx_ops.table import Call
from radproof.models.importers.onnx_signature import Signature
from radproof.models.importers.onnx_values import Live, Tracer, Unconvertible, Value

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto


def build(
    model: "ModelProto", signature: Signature, examples: Sequence[tuple[int, ...]], *, one_image: bool = False
) -> GraphModule:
    """The network for input shapes (N, C, H, W) as in `examples`; what differs between them may differ ever after.

    one_image: the file says that it takes one image at once; here it shall take any number.
    Raises Unconvertible for an operator without conversion, BadModel for one that does not fit its inputs.
    """
    stored = {tensor.name: as_torch(tensor) for tensor in model.graph.initializer}
    tracer = Tracer(examples, {id(tensor): name for name, tensor in stored.items()})
    values: dict[str, Value] = {**stored}
    tracer.where = "the input"
    values[signature.input] = tracer.call(torch.permute, tracer.input, (0, 2, 3, 1)) if signature.last else tracer.input
    known, table = opset_of(model), operators()
    for node in needed(model, signature.output):
        handler = table.get(("" if node.domain == "ai.onnx" else node.domain, node.op_type))
        tracer.where = f"operator {label(node)}"
        try:
            if handler is None:
                raise Unconvertible("it has no conversion")
            found = handler(_call(tracer, node, values, known, one_image))
        except Unconvertible as error:
            raise Unconvertible(
                f"ONNX operator {label(node)} of {node.domain or 'ai.onnx'} opset {known} cannot be converted: "
                f"{error}; {BLACK_BOX}"
            ) from None
        _keep(node, found, values)
    end = values[signature.output]
    if not isinstance(end, Live):
        raise BadModel("the network's answer does not depend on the image")
    tracer.where = "the output"
    tracer.graph.output(_answers(tracer, end).node)
    graph = GraphModule(tracer.root, tracer.graph, "OnnxNetwork")
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph.eval()


def needed(model: "ModelProto", output: str) -> "list[NodeProto]":
    """The nodes that an output depends on, in order."""
    wanted, found = {output}, list["NodeProto"]()
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            found.append(node)
    return found[::-1]


def as_torch(tensor: "TensorProto") -> Tensor:
    """A stored array; real numbers as float32."""
    from onnx import numpy_helper

    array: Any = numpy_helper.to_array(tensor)
    if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind == "O" or array.dtype.kind == "c":
        raise BadModel(f"the weights {tensor.name[:80]!r} are no numbers")
    if array.dtype in (np.uint32, np.uint64):
        array = array.astype(np.int64)
    return torch.from_numpy(np.array(array, order="C", copy=True))


def _call(tracer: Tracer, node: "NodeProto", values: Mapping[str, Value], opset: int, one_image: bool) -> Call:
    from onnx import TensorProto, helper

    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        value: Any = helper.get_attribute_value(attribute)
        if isinstance(value, TensorProto):
            value = as_torch(value)
        attributes[attribute.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    inputs = tuple(values[name] if name else None for name in node.input)
    used = max((at + 1 for at, name in enumerate(node.output) if name), default=0)
    return Call(tracer, inputs, attributes, opset, used, one_image)


def _keep(node: "NodeProto", found: Any, values: dict[str, Value]) -> None:
    several = found if isinstance(found, tuple) else (found,)
    for name, value in zip(node.output, several, strict=False):
        if name:
            values[name] = value
            if isinstance(value, Live):
                value.node.meta.setdefault("onnx", (name, label(node)))


def _answers(tracer: Tracer, end: Live) -> Live:
    """(N, K), whatever dimensions of one stand around it."""
    shapes = [tuple(example.shape) for example in end.examples]
    if any(shape[0] != given.shape[0] for shape, given in zip(shapes, tracer.input.examples, strict=True) if shape):
        raise BadModel(f"the network gives {shapes[0]}, expected one row of answers per image")
    if end.rank > 2 and all(size == 1 for shape in shapes for size in shape[2:]):
        end = tracer.call(torch.flatten, end, 1)
    if end.rank == 1:
        end = tracer.call(torch.unsqueeze, end, 1)
    if end.rank != 2 or not end.floating:
        raise BadModel(f"the network gives an array {shapes[0]}, expected logits (N, K)")
    return end
