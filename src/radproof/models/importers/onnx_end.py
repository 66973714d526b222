# SPDX-License-Identifier: Apache-2.0
"""The softmax or sigmoid that a quantised file ends in, and the file cut before it: what comes out then are logits.

Behind it may stand quantisation, which hides it in a graph and rounds small probabilities to 0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from radproof.core.types import Head
from radproof.models.importers.onnx_signature import Signature

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

_QUANTISATION = ("QuantizeLinear", "DequantizeLinear")
_THROUGH = (*_QUANTISATION, "Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
_ENDS: dict[str, Head] = {
    "Softmax": "softmax",
    "QLinearSoftmax": "softmax",
    "Sigmoid": "sigmoid",
    "QLinearSigmoid": "sigmoid",
}
_LOGITS = "radproof_logits"
_LEAST = 1e-7


@dataclass(frozen=True)
class End:
    """What a file does to its logits, if anything."""

    node: "NodeProto | None" = None
    head: Head | None = None
    highest: float = math.inf  # the largest probability that its integers can tell, where that is short of 1

    @property
    def most(self) -> float:
        """The logit that the file's own answers stop at: its integers may not reach far enough."""
        if self.head != "sigmoid" or self.highest >= 1:
            return math.inf
        p = min(max(self.highest, _LEAST), 1 - _LEAST)
        return math.log(p / (1 - p))

    def closed(self, logits: Tensor) -> Tensor:
        """What the file makes of logits (N, K), but for the last rounding."""
        if self.head is None:
            return logits
        return (logits.softmax(1) if self.head == "softmax" else logits.sigmoid()).clamp(max=self.highest)


def end_of(model: "ModelProto", signature: Signature) -> End:
    """The softmax or sigmoid that the answer comes from, looked for through quantisation and changes of shape."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    name, highest = signature.output, math.inf
    for node in reversed(model.graph.node):
        if name not in node.output:
            continue
        if node.op_type in _ENDS:
            return End(node, _ENDS[node.op_type], highest)
        if node.op_type not in _THROUGH:
            break
        if node.op_type in _QUANTISATION:
            highest = min(highest, _highest(node, stored))
        name = node.input[0]
    return End()


def before(model: "ModelProto", signature: Signature, end: End) -> "tuple[ModelProto, Signature]":
    """The file and its signature with the logits as answer; as they are where it ends in logits."""
    if end.node is None:
        return model, signature
    from onnx import ModelProto, ValueInfoProto, helper

    found = ModelProto()
    found.CopyFrom(model)
    name = end.node.input[0]
    if end.node.op_type.startswith("QLinear"):
        found.graph.node.append(helper.make_node("DequantizeLinear", list(end.node.input[:3]), [_LOGITS]))
        name = _LOGITS
    del found.graph.output[:]
    found.graph.output.append(ValueInfoProto(name=name))
    return found, replace(signature, output=name, others=())


def _highest(node: "NodeProto", stored: "Mapping[str, TensorProto]") -> float:
    """The largest number that the integers stand for; infinity where that is 1 but for a step, or cannot be told."""
    from onnx import numpy_helper

    given = [stored.get(name) for name in node.input[1:3]]
    if not given or any(tensor is None for tensor in given):
        return math.inf
    arrays: list[Any] = [numpy_helper.to_array(tensor) for tensor in given if tensor is not None]
    scale, zero = arrays[0], arrays[1] if len(arrays) > 1 else np.uint8(0)
    if scale.size != 1 or zero.size != 1 or zero.dtype.kind not in "ui":
        return math.inf
    step = float(scale.reshape(()))
    top = (int(np.iinfo(zero.dtype).max) - int(zero.reshape(()))) * step
    return top if top + step < 1 - 1e-6 else math.inf
