# SPDX-License-Identifier: Apache-2.0
"""Convolutions and the padding that goes with them."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from radproof.models.importers.onnx_ops.table import MICROSOFT, Call, operator
from radproof.models.importers.onnx_values import Value, plain, rank_of

_FORWARD = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def pads_of(call: Call, x: Value, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Any:
    """(before, after) for each spatial dimension, whether told in numbers or by auto_pad."""
    count = len(kernel)
    auto = call.attr("auto_pad", "NOTSET")
    if auto == "VALID":
        return [(0, 0)] * count
    if auto == "NOTSET":
        pads = list(call.attr("pads", [0] * 2 * count))
        return list(zip(pads[:count], pads[count:], strict=True))
    call.refuse(auto in ("SAME_UPPER", "SAME_LOWER"), f"auto_pad {auto!r}")
    found: list[Any] = []
    for at in range(count):
        size, wide = call.tracer.size(x, 2 + at), (kernel[at] - 1) * dilations[at] + 1
        steps = (size + strides[at] - 1) // strides[at]
        total = call.tracer.number(max, (steps - 1) * strides[at] + wide - size, 0)
        less = total // 2
        found.append((less, total - less) if auto == "SAME_UPPER" else (total - less, less))
    return found


def same(pads: Sequence[tuple[Any, Any]]) -> bool:
    """Whether as much is padded before as after, in plain numbers."""
    return all(isinstance(a, int) and isinstance(b, int) and a == b >= 0 for a, b in pads)


def padded(call: Call, x: Value, pads: Sequence[tuple[Any, Any]], value: float = 0.0) -> Any:
    """Spatial dimensions made larger, or smaller where a pad is below 0."""
    if all(isinstance(p, int) and p == 0 for pair in pads for p in pair):
        return x
    return call.do(F.pad, x, [p for pair in reversed(pads) for p in pair], value=value)


@operator("Conv")
def _conv(call: Call) -> Any:
    return convolved(call, call[0], call[1], call.get(2))


@operator("FusedConv", domain=MICROSOFT)
def _fused(call: Call) -> Any:
    call.refuse(call.get(3) is None, "a fused addition")
    found = convolved(call, call[0], call[1], call.get(2))
    name, given = call.attr("activation", ""), call.attr("activation_params", [])
    if name == "Clip":
        return call.do(torch.clamp, found, *given)
    if name == "LeakyRelu":
        return call.do(F.leaky_relu, found, *given)
    if name == "HardSigmoid":
        return call.do(torch.clamp, call.do(torch.add, call.do(torch.mul, found, given[0]), given[1]), 0.0, 1.0)
    known: dict[str, Any] = {"": None, "Relu": F.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh}
    call.refuse(name in known, f"the fused activation {name!r}")
    return found if not name else call.do(known[name], found)


def convolved(call: Call, x: Value, weight: Value, bias: Value | None) -> Any:
    """A convolution as the node's attributes say."""
    count = rank_of(weight) - 2
    call.refuse(count in _FORWARD and rank_of(x) == count + 2, f"a convolution over {count} dimensions")
    kernel = list(call.tracer.sizes(weight)[2:])
    call.refuse(list(call.attr("kernel_shape", kernel)) == kernel, "kernel_shape that is not the weights' shape")
    strides, dilations = list(call.attr("strides", [1] * count)), list(call.attr("dilations", [1] * count))
    pads = pads_of(call, x, kernel, strides, dilations)
    padding: Any = tuple(a for a, _ in pads) if same(pads) else (0,) * count
    if not same(pads):
        x = padded(call, x, pads)
    return call.do(
        _FORWARD[count],
        x,
        weight,
        bias,
        stride=tuple(strides),
        padding=padding,
        dilation=tuple(dilations),
        groups=int(call.attr("group", 1)),
    )


@operator("ConvTranspose")
def _transposed(call: Call) -> Any:
    x, weight = call[0], call[1]
    count = rank_of(weight) - 2
    call.refuse(count in _TRANSPOSED and rank_of(x) == count + 2, f"a convolution over {count} dimensions")
    call.refuse(call.attr("output_shape") is None, "a transposed convolution with output_shape")
    kernel = list(call.tracer.sizes(weight)[2:])
    strides, dilations = list(call.attr("strides", [1] * count)), list(call.attr("dilations", [1] * count))
    more = list(call.attr("output_padding", [0] * count))
    auto = call.attr("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        wide = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        total = [max(w + m - s, 0) for w, m, s in zip(wide, more, strides, strict=True)]
        less = [math.floor(t / 2) for t in total]
        pads = [(n, t - n) if auto == "SAME_UPPER" else (t - n, n) for n, t in zip(less, total, strict=True)]
    else:
        pads = pads_of(call, x, kernel, strides, dilations)
    both = [min(pair) for pair in pads]
    found = call.do(
        _TRANSPOSED[count],
        x,
        weight,
        call.get(2),
        stride=tuple(strides),
        padding=tuple(both),
        output_padding=tuple(more),
        groups=int(call.attr("group", 1)),
        dilation=tuple(dilations),
    )
    return padded(call, found, [(plain(n - a), plain(n - b)) for n, (a, b) in zip(both, pads, strict=True)])
