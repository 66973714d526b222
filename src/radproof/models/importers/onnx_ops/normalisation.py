# SPDX-License-Identifier: Apache-2.0
"""Normalisation layers."""

from typing import Any

import torch
import torch.nn.functional as F

from radproof.models.importers.onnx_ops.table import Call, operator
from radproof.models.importers.onnx_values import Value, rank_of


@operator("BatchNormalization")
def _batch(call: Call) -> Any:
    call.refuse(not call.attr("training_mode", 0) and call.outputs == 1, "batch normalisation in training mode")
    call.refuse(call.attr("spatial", 1) == 1, "batch normalisation of single pixels")
    x, weight, bias, mean, var = (call[at] for at in range(5))
    return call.do(F.batch_norm, x, mean, var, weight, bias, False, 0.0, call.attr("epsilon", 1e-5))


@operator("InstanceNormalization")
def _instance(call: Call) -> Any:
    return call.do(F.instance_norm, call[0], weight=call[1], bias=call[2], eps=call.attr("epsilon", 1e-5))


@operator("GroupNormalization")
def _group(call: Call) -> Any:
    groups, channels = int(call.attr("num_groups")), call.tracer.size(call[0], 1)
    weight, bias = call[1], call[2]
    if call.opset < 21:  # one number per group
        weight, bias = (call.do(torch.repeat_interleave, v, channels // groups) for v in (weight, bias))
    return call.do(F.group_norm, call[0], groups, weight, bias, call.attr("epsilon", 1e-5))


def _over(call: Call) -> tuple[int, ...]:
    sizes = call.tracer.sizes(call[0])[call.axis(-1) :]
    call.refuse(all(isinstance(size, int) for size in sizes), "normalisation over a size that may change")
    return sizes


def _spread(call: Call, value: Value | None, shape: tuple[int, ...]) -> Any:
    if value is None or call.tracer.sizes(value) == shape:
        return value
    return call.do(torch.broadcast_to, value, shape)


@operator("LayerNormalization")
def _layer(call: Call) -> Any:
    call.refuse(call.outputs == 1, "the means that a normalisation took off")
    shape = _over(call)
    weight, bias = _spread(call, call.get(1), shape), _spread(call, call.get(2), shape)
    return call.do(F.layer_norm, call[0], shape, weight, bias, call.attr("epsilon", 1e-5))


@operator("RMSNormalization")
def _rms(call: Call) -> Any:
    shape = _over(call)
    return call.do(F.rms_norm, call[0], shape, _spread(call, call.get(1), shape), call.attr("epsilon", 1e-5))


@operator("LpNormalization")
def _lp(call: Call) -> Any:
    return call.do(F.normalize, call[0], float(call.attr("p", 2)), call.axis(-1), 0.0)


@operator("LRN")
def _local(call: Call) -> Any:
    size, alpha, beta = int(call.attr("size")), call.attr("alpha", 1e-4), call.attr("beta", 0.75)
    call.refuse(rank_of(call[0]) == 4, "local response normalisation of anything but images")
    if size % 2:
        return call.do(F.local_response_norm, call[0], size, alpha, beta, call.attr("bias", 1.0))
    squares = call.do(torch.unsqueeze, call.do(torch.square, call[0]), 1)
    squares = call.do(F.pad, squares, [0, 0, 0, 0, (size - 1) // 2, size // 2])
    mean = call.do(torch.squeeze, call.do(F.avg_pool3d, squares, (size, 1, 1), 1), 1)
    scale = call.do(torch.pow, call.do(torch.add, call.do(torch.mul, mean, alpha), call.attr("bias", 1.0)), beta)
    return call.do(torch.div, call[0], scale)
