# SPDX-License-Identifier: Apache-2.0
"""Matrix products."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from radproof.models.importers.onnx_ops.table import Call, operator
from radproof.models.importers.onnx_values import Live, Value, rank_of


@operator("Gemm")
def _gemm(call: Call) -> Any:
    return product(call, call[0], call[1], call.get(2))


def product(call: Call, a: Value, b: Value, c: Value | None) -> Any:
    """alpha*A@B + beta*C, either of them turned first if the node says so; a linear layer where it is one."""
    alpha, beta = call.attr("alpha", 1.0), call.attr("beta", 1.0)
    if call.attr("transA", 0):
        a = call.do(torch.t, a)
    if isinstance(b, Tensor):
        weight: Value = b if call.attr("transB", 0) else call.do(torch.t, b)
        weight = weight if alpha == 1 else call.do(torch.mul, weight, alpha)
        c = c if c is None or beta == 1 else call.do(torch.mul, c, beta)
        outputs = call.tracer.size(weight, 0)
        if isinstance(c, Tensor) and c.numel() in (1, outputs) and c.numel() == max(c.shape[-1:], default=1):
            bias = call.do(torch.ops.aten.expand.default, call.do(torch.flatten, c), [outputs])
            return call.do(F.linear, a, weight, c if c.dim() == 1 and c.numel() == outputs else bias)
        found = call.do(F.linear, a, weight)
        return found if c is None else call.do(torch.add, found, c)
    found = call.do(torch.matmul, a, call.do(torch.t, b) if call.attr("transB", 0) else b)
    found = found if alpha == 1 else call.do(torch.mul, found, alpha)
    if c is None:
        return found
    return call.do(torch.add, found, c if beta == 1 else call.do(torch.mul, c, beta))


@operator("MatMul")
def _matmul(call: Call) -> Any:
    return multiplied(call, call[0], call[1])


def multiplied(call: Call, a: Value, b: Value) -> Any:
    """A matrix product; with constant weights a linear layer."""
    if isinstance(b, Tensor) and isinstance(a, Live) and rank_of(b) == 2 and a.rank >= 2:
        return call.do(F.linear, a, call.do(torch.t, b))
    return call.do(torch.matmul, a, b)


@operator("Einsum")
def _einsum(call: Call) -> Any:
    equation = str(call.attr("equation", "")).replace(" ", "")
    return call.do(torch.einsum, equation, *(call[at] for at in range(len(call.inputs))))
