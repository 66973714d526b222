# SPDX-License-Identifier: Apache-2.0
"""Quantised networks: the original answers, a graph between the integers stands in for gradients."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from onnx import ModelProto

_INTEGER = ("QLinear", "ConvInteger", "MatMulInteger", "QGemm", "DynamicQuantize", "QuantizeLinear", "DequantizeLinear")


def is_quantised(model: "ModelProto") -> bool:
    """Whether a file rounds activations or weights to integers."""
    return any(node.op_type.startswith(_INTEGER) for node in model.graph.node)


def agreement(exact: Tensor, stand_in: Tensor) -> str:
    """How near the stand-in's answers (N, K) come to the original's, in words."""
    same = float((exact.argmax(1) == stand_in.argmax(1)).double().mean()) if exact.shape[1] > 1 else None
    pair = torch.stack([exact.reshape(-1), stand_in.reshape(-1)]).double()
    near = float(torch.corrcoef(pair)[0, 1]) if pair.shape[1] > 1 and bool((pair.std(1) > 0).all()) else float("nan")
    classes = "" if same is None else f"the same class for {same:.0%} of {len(exact)} made images and "
    return (
        "the network is quantised: gradients come from a stand-in that does not round activations; it gives "
        f"{classes}answers that correlate by {near:.3f} with the original's"
    )
