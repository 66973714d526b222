# SPDX-License-Identifier: Apache-2.0
"""Pooling: torch's own where it means the same, otherwise with the padding written out."""

import math
from typing import Any

import torch
import torch.nn.functional as F

from radproof.models.importers.onnx_ops.convolution import padded, pads_of, same
from radproof.models.importers.onnx_ops.table import Call, operator
from radproof.models.importers.onnx_values import rank_of


@operator("GlobalAveragePool")
def _global_average(call: Call) -> Any:
    if rank_of(call[0]) == 4:
        return call.do(F.adaptive_avg_pool2d, call[0], 1)
    return call.do(torch.mean, call[0], tuple(range(2, rank_of(call[0]))), keepdim=True)


@operator("GlobalMaxPool")
def _global_max(call: Call) -> Any:
    if rank_of(call[0]) == 4:
        return call.do(F.adaptive_max_pool2d, call[0], 1)
    return call.do(torch.amax, call[0], tuple(range(2, rank_of(call[0]))), keepdim=True)


def _window(call: Call) -> tuple[list[int], list[int], list[int], list[tuple[Any, Any]], bool]:
    call.refuse(rank_of(call[0]) == 4, "pooling of anything but images")
    kernel = [int(size) for size in call.attr("kernel_shape")]
    strides, dilations = list(call.attr("strides", [1, 1])), list(call.attr("dilations", [1, 1]))
    pads = pads_of(call, call[0], kernel, strides, dilations)
    return kernel, strides, dilations, pads, bool(call.attr("ceil_mode", 0))


def _exact(call: Call, kernel: Any, strides: Any, dilations: Any, pads: Any, ceil: bool) -> list[tuple[int, int]]:
    """Pads that make every window whole, with a window that would begin behind the image left out."""
    found: list[tuple[int, int]] = []
    for at in range(2):
        size, (before, after) = call.tracer.size(call[0], 2 + at), pads[at]
        call.refuse(isinstance(size, int), "uneven pooling of images of any size")
        wide = (kernel[at] - 1) * dilations[at] + 1
        steps = (size + before + after - wide) / strides[at]
        count = (math.ceil(steps) if ceil else math.floor(steps)) + 1
        if ceil and (count - 1) * strides[at] >= size + before:
            count -= 1
        found.append((before, (count - 1) * strides[at] + wide - size - before))
    return found


@operator("MaxPool")
def _max_pool(call: Call) -> Any:
    call.refuse(call.outputs == 1, "the places of maxima")
    kernel, strides, dilations, pads, ceil = _window(call)
    if same(pads) and all(2 * a <= k for (a, _), k in zip(pads, kernel, strict=True)):
        padding = tuple(a for a, _ in pads)
        return call.do(
            F.max_pool2d, call[0], tuple(kernel), tuple(strides), padding, dilation=tuple(dilations), ceil_mode=ceil
        )
    if ceil or any(isinstance(p, int) and p < 0 for pair in pads for p in pair):
        pads = _exact(call, kernel, strides, dilations, pads, ceil)
    x = padded(call, call[0], pads, -math.inf)
    return call.do(F.max_pool2d, x, tuple(kernel), tuple(strides), 0, dilation=tuple(dilations))


@operator("AveragePool")
def _average_pool(call: Call) -> Any:
    kernel, strides, dilations, pads, ceil = _window(call)
    counted = bool(call.attr("count_include_pad", 0))
    fits = same(pads) and all(2 * a <= k for (a, _), k in zip(pads, kernel, strict=True))
    if fits and dilations == [1, 1]:
        padding = tuple(a for a, _ in pads)
        return call.do(
            F.avg_pool2d,
            call[0],
            tuple(kernel),
            tuple(strides),
            padding,
            ceil_mode=ceil,
            count_include_pad=counted,
        )
    whole = _exact(call, kernel, strides, dilations, pads, ceil)
    size, channels = [call.tracer.size(call[0], 2 + at) for at in range(2)], call.tracer.size(call[0], 1)
    ones = torch.ones(1, 1, *kernel)
    inside = torch.ones(1, 1, *size)
    if counted:
        inside = call.do(F.pad, inside, [p for pair in reversed(pads) for p in pair], value=1.0)
        rest = [(0, full - told) for (_, full), (_, told) in zip(whole, pads, strict=True)]
    else:
        rest = whole
    inside = padded(call, inside, rest)
    share = 1 / F.conv2d(inside, ones, stride=strides, dilation=dilations)
    weight = ones.expand(channels, 1, -1, -1).contiguous()
    x = padded(call, call[0], whole)
    summed = call.do(F.conv2d, x, weight, stride=tuple(strides), dilation=tuple(dilations), groups=channels)
    return call.do(torch.mul, summed, share)
