# SPDX-License-Identifier: Apache-2.0
"""Activation functions and other operators of one value."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from radproof.models.importers.onnx_ops.table import MICROSOFT, OPERATORS, Call, Handler, operator
from radproof.models.importers.onnx_values import Dims, Live, rank_of, settled

_LARGEST = 3.4028234663852886e38  # of float32


def _unary(function: Any) -> Handler:
    return lambda call: call.do(function, call[0])


OPERATORS.update(
    {
        ("", name): _unary(function)
        for name, function in {
            "Relu": F.relu,
            "Sigmoid": torch.sigmoid,
            "Tanh": torch.tanh,
            "Softplus": F.softplus,
            "Softsign": F.softsign,
            "Mish": F.mish,
            "HardSwish": F.hardswish,
            "Erf": torch.erf,
            "Exp": torch.exp,
            "Log": torch.log,
            "Abs": torch.abs,
            "Sqrt": torch.sqrt,
            "Reciprocal": torch.reciprocal,
            "Round": torch.round,
            "Sign": torch.sign,
            "Not": torch.logical_not,
            "Sin": torch.sin,
            "Cos": torch.cos,
            "Atan": torch.atan,
            "IsNaN": torch.isnan,
        }.items()
    }
)


@operator("Neg")
def _neg(call: Call) -> Any:
    value = call[0]
    return settled(-value.entries) if isinstance(value, Dims) else call.do(torch.neg, value)


@operator("LeakyRelu")
def _leaky(call: Call) -> Any:
    return call.do(F.leaky_relu, call[0], call.attr("alpha", 0.01))


@operator("Elu")
def _elu(call: Call) -> Any:
    return call.do(F.elu, call[0], call.attr("alpha", 1.0))


@operator("Celu")
def _celu(call: Call) -> Any:
    return call.do(F.celu, call[0], call.attr("alpha", 1.0))


@operator("Selu")
def _selu(call: Call) -> Any:
    alpha, gamma = call.attr("alpha", 1.6732632423543772), call.attr("gamma", 1.0507009873554805)
    if math.isclose(alpha, 1.6732632423543772, rel_tol=1e-6) and math.isclose(gamma, 1.0507009873554805, rel_tol=1e-6):
        return call.do(F.selu, call[0])
    return call.do(torch.mul, call.do(F.elu, call[0], alpha), gamma)


@operator("ThresholdedRelu")
def _thresholded(call: Call) -> Any:
    return call.do(F.threshold, call[0], call.attr("alpha", 1.0), 0.0)


@operator("Shrink")
def _shrink(call: Call) -> Any:
    bias, edge = call.attr("bias", 0.0), call.attr("lambd", 0.5)
    low = call.do(torch.where, call.do(torch.lt, call[0], -edge), call.do(torch.add, call[0], bias), 0.0)
    return call.do(torch.where, call.do(torch.gt, call[0], edge), call.do(torch.sub, call[0], bias), low)


@operator("PRelu")
def _prelu(call: Call) -> Any:
    x, slope = call[0], call[1]
    if isinstance(slope, Tensor) and isinstance(x, Live):
        beside = [1] * (x.rank - slope.dim()) + list(slope.shape)
        if slope.numel() == 1 or (x.rank > 1 and beside[1] == slope.numel() == call.tracer.size(x, 1)):
            return call.do(F.prelu, x, call.do(torch.flatten, slope))
    return call.do(torch.where, call.do(torch.gt, x, 0), x, call.do(torch.mul, x, slope))


@operator("HardSigmoid")
def _hard_sigmoid(call: Call) -> Any:
    alpha, beta = call.attr("alpha", 0.2), call.attr("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return call.do(F.hardsigmoid, call[0])
    line = call.do(torch.add, call.do(torch.mul, call[0], alpha), beta)
    return call.do(F.hardtanh, line, 0.0, 1.0)


@operator("Clip")
def _clip(call: Call) -> Any:
    if call.opset < 11:
        return _between(call, call.attr("min", -_LARGEST), call.attr("max", _LARGEST))
    low, high = call.get(1), call.get(2)
    if isinstance(low, Tensor) and isinstance(high, Tensor):
        return _between(call, low.item(), high.item())
    found = call[0]
    for bound, name, function in ((low, "min", torch.maximum), (high, "max", torch.minimum)):
        if isinstance(bound, Tensor):
            found = call.do(torch.clamp, found, **{name: bound.item()})
        elif bound is not None:
            found = call.do(function, found, bound)
    return found


def _between(call: Call, low: float, high: float) -> Any:
    """Hard tanh where it can be: its backward pass takes a quarter of a clamp's time."""
    return call.do(F.hardtanh if low < high else torch.clamp, call[0], low, high)


@operator("Gelu")
@operator("Gelu", domain=MICROSOFT)
def _gelu(call: Call) -> Any:
    return call.do(F.gelu, call[0], approximate=call.attr("approximate", "none"))


@operator("Swish")
@operator("QuickGelu", domain=MICROSOFT)
def _swish(call: Call) -> Any:
    alpha = call.attr("alpha", 1.0)
    if alpha == 1:
        return call.do(F.silu, call[0])
    return call.do(torch.mul, call[0], call.do(torch.sigmoid, call.do(torch.mul, call[0], alpha)))


def _normalised(function: Any) -> Handler:
    def convert(call: Call) -> Any:
        x, rank = call[0], rank_of(call[0])
        axis = call.axis(-1 if call.opset >= 13 else 1)
        sizes = call.tracer.sizes(x)
        if call.opset >= 13 or all(isinstance(size, int) and size == 1 for size in sizes[axis + 1 :]):
            return call.do(function, x, dim=min(axis, rank - 1))
        flat = call.do(torch.flatten, x, axis)  # older versions take all dimensions from the axis on together
        return call.do(torch.reshape, call.do(function, flat, dim=axis), sizes)

    return convert


OPERATORS[("", "Softmax")] = _normalised(torch.softmax)
OPERATORS[("", "LogSoftmax")] = _normalised(torch.log_softmax)
