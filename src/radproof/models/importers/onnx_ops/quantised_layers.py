# SPDX-License-Identifier: Apache-2.0
"""Layers that compute on integers, as real numbers."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from radproof.models.importers.onnx_ops.convolution import convolved
from radproof.models.importers.onnx_ops.linear import multiplied, product
from radproof.models.importers.onnx_ops.quantised import centred, dequantised, quantised, real
from radproof.models.importers.onnx_ops.table import MICROSOFT, OPERATORS, Call, Handler, operator
from radproof.models.importers.onnx_values import Value, rank_of


def _bias(call: Call, at: int, x_scale: Value, w_scale: Value) -> Any:
    """A bias of integers, whose scale is the product of the input's and the weights'."""
    bias = call.get(at)
    if bias is None:
        return None
    scale = call.do(torch.mul, real(call, x_scale), real(call, w_scale))
    return dequantised(call, bias, scale, None, rank_of(bias) - 1)


@operator("QLinearConv")
def _conv(call: Call) -> Any:
    x = dequantised(call, call[0], call[1], call[2])
    weight = dequantised(call, call[3], call[4], call[5], 0)
    found = convolved(call, x, weight, _bias(call, 8, call[1], call[4]))
    return quantised(call, found, call[6], call[7])


@operator("QLinearMatMul")
@operator("QLinearMatMul", domain=MICROSOFT)
def _matmul(call: Call) -> Any:
    a = dequantised(call, call[0], call[1], call[2], rank_of(call[0]) - 2)
    b = dequantised(call, call[3], call[4], call[5], rank_of(call[3]) - 1)
    return quantised(call, multiplied(call, a, b), call[6], call[7])


@operator("QGemm", domain=MICROSOFT)
def _gemm(call: Call) -> Any:
    a = dequantised(call, call[0], call[1], call[2])
    axis = 0 if call.attr("transB", 0) else 1
    b = dequantised(call, call[3], call[4], call.get(5), axis)
    found = product(call, a, b, _bias(call, 6, call[1], call[4]))
    return found if call.get(7) is None else quantised(call, found, call[7], call.get(8))


@operator("ConvInteger")
def _conv_integer(call: Call) -> Any:
    return convolved(call, centred(call, call[0], call.get(2)), centred(call, call[1], call.get(3), 0), None)


@operator("MatMulInteger")
def _matmul_integer(call: Call) -> Any:
    a = centred(call, call[0], call.get(2), rank_of(call[0]) - 2)
    return multiplied(call, a, centred(call, call[1], call.get(3), rank_of(call[1]) - 1))


def _two(function: Callable[..., Any]) -> Handler:
    def convert(call: Call) -> Any:
        a = dequantised(call, call[0], call[1], call.get(2))
        b = dequantised(call, call[3], call[4], call.get(5))
        return quantised(call, call.do(function, a, b), call[6], call.get(7))

    return convert


OPERATORS[(MICROSOFT, "QLinearAdd")] = _two(torch.add)
OPERATORS[(MICROSOFT, "QLinearMul")] = _two(torch.mul)


def _one(function: Callable[[Call, Any], Any]) -> Handler:
    def convert(call: Call) -> Any:
        x = dequantised(call, call[0], call[1], call.get(2))
        return quantised(call, function(call, x), call[3], call.get(4))

    return convert


def _pooled(call: Call, x: Any) -> Any:
    call.refuse(not call.attr("channels_last", 0), "channels last")
    return call.do(F.adaptive_avg_pool2d, x, 1)


OPERATORS[(MICROSOFT, "QLinearGlobalAveragePool")] = _one(_pooled)
OPERATORS[(MICROSOFT, "QLinearSigmoid")] = _one(lambda call, x: call.do(torch.sigmoid, x))
OPERATORS[(MICROSOFT, "QLinearLeakyRelu")] = _one(lambda call, x: call.do(F.leaky_relu, x, call.attr("alpha", 0.01)))


@operator("QLinearConcat", domain=MICROSOFT)
def _concat(call: Call) -> Any:
    there = range(2, len(call.inputs), 3)
    values = [dequantised(call, call[at], call[at + 1], call[at + 2]) for at in there]
    axis = int(call.attr("axis", 1)) % rank_of(values[0])
    return quantised(call, call.do(torch.cat, values, axis), call[0], call[1])
