# SPDX-License-Identifier: Apache-2.0
"""Quantisation, as a gradient may see it: stored weights are rounded as they are, activations only kept in range.

A quantised activation is a real number here, on the integers' scale but between them: rounding has no gradient.
"""

from typing import Any

import torch
from torch import Tensor

from radproof.models.importers.onnx_ops.table import MICROSOFT, Call, operator
from radproof.models.importers.onnx_values import Live, Value, rank_of

RANGES = {2: (0, 255), 3: (-128, 127), 4: (0, 65535), 5: (-32768, 32767)}
_KINDS = {torch.uint8: 2, torch.int8: 3, torch.uint16: 4, torch.int16: 5}


def real(call: Call, value: Value) -> Any:
    """Any numbers as float32."""
    kind = value.examples[0].dtype if isinstance(value, Live) else value.dtype  # pyright: ignore[reportAttributeAccessIssue]
    return value if kind == torch.float32 else call.do(torch.ops.aten.to.dtype, value, torch.float32)


def along(call: Call, value: Value, axis: int, rank: int) -> Any:
    """Scales or zero points, one or one per channel, shaped to go with an array of `rank` dimensions."""
    value = real(call, value)
    if not rank_of(value) or call.tracer.sizes(value) == (1,):
        return value.item() if isinstance(value, Tensor) else call.do(torch.reshape, value, ())
    call.refuse(rank_of(value) == 1, "quantisation in blocks")
    return call.do(torch.reshape, value, [-1 if at == axis else 1 for at in range(rank)])


def span(zero: Value | None, otherwise: int = 2) -> tuple[int, int] | None:
    """The least and greatest integer of a zero point's type."""
    kind = _KINDS.get(zero.dtype) if isinstance(zero, Tensor) else otherwise
    return None if kind is None else RANGES.get(kind)


def quantised(call: Call, x: Value, scale: Value, zero: Value | None, axis: int = 1, otherwise: int = 2) -> Any:
    """Real numbers on the integers' scale, kept within the integers' range; constants are rounded too."""
    rank = rank_of(x)
    found = call.do(torch.div, real(call, x), along(call, scale, axis, rank))
    found = call.do(torch.round, found) if isinstance(found, Tensor) else found
    if zero is not None:
        found = call.do(torch.add, found, along(call, zero, axis, rank))
    bounds = span(zero, otherwise)
    return found if bounds is None else call.do(torch.clamp, found, float(bounds[0]), float(bounds[1]))


def dequantised(call: Call, x: Value, scale: Value, zero: Value | None, axis: int = 1) -> Any:
    """The real numbers that integers stand for."""
    found = centred(call, x, zero, axis)
    return call.do(torch.mul, found, along(call, scale, axis, rank_of(x)))


def centred(call: Call, x: Value, zero: Value | None, axis: int = 1) -> Any:
    """Integers less their zero point, as real numbers."""
    x = real(call, x)
    if zero is None or (isinstance(zero, Tensor) and not bool((zero != 0).any())):
        return x
    return call.do(torch.sub, x, along(call, zero, axis, rank_of(x)))


@operator("QuantizeLinear")
@operator("QuantizeLinear", domain=MICROSOFT)
def _quantize(call: Call) -> Any:
    call.refuse(not call.attr("block_size", 0), "quantisation in blocks")
    return quantised(call, call[0], call[1], call.get(2), _axis(call), int(call.attr("output_dtype", 0)) or 2)


@operator("DequantizeLinear")
@operator("DequantizeLinear", domain=MICROSOFT)
def _dequantize(call: Call) -> Any:
    call.refuse(not call.attr("block_size", 0), "quantisation in blocks")
    return dequantised(call, call[0], call[1], call.get(2), _axis(call))


def _axis(call: Call) -> int:
    return int(call.attr("axis", 1)) % max(rank_of(call[0]), 1)


@operator("DynamicQuantizeLinear")
def _dynamic(call: Call) -> Any:
    x = call[0]
    low = call.do(torch.clamp, call.do(torch.amin, x), max=0.0)
    high = call.do(torch.clamp, call.do(torch.amax, x), min=0.0)
    scale = call.do(torch.div, call.do(torch.sub, high, low), 255.0)
    scale = call.do(torch.clamp, scale, min=1e-30)  # an image of zeros alone
    zero = call.do(torch.neg, call.do(torch.div, low, scale))
    return call.do(torch.add, call.do(torch.div, x, scale), zero), scale, zero
