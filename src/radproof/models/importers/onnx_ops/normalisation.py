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
    call.tracer.hold(mean, var)
    return call.do(F.batch_norm, x, mean, var, weight, bias, False, 0.0, call.attr("epsilon", 1e-5))


@operator("InstanceNormalization")
def _instance(call: Call) -> Any:
    return call.do(F.instance_norm, call[0], weight=call[1], bias=call[2], eps=call.attr("epsilon", 1e-5))


@operator("GroupNormalization")
def _group(call: Call) -> Any:
    call.refuse(call.opset >= 21, "group normalisation as it was before opset 21")
    return call.do(F.group_norm, call[0], int(call.attr("num_groups")), call[1], call[2], call.attr("epsilon", 1e-5))


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
    call.refuse(rank_of(call[0]) == 4, "local response normalisation of anything but images")
    size, bias = int(call.attr("size")), call.attr("bias", 1.0)
    call.refuse(size % 2 == 1, "local response normalisation over an even number of channels")
    return call.do(F.local_response_norm, call[0], size, call.attr("alpha", 1e-4), call.attr("beta", 0.75), bias)
