# SPDX-License-Identifier: Apache-2.0
"""Operators that take parts of a value."""

import operator as py
from typing import Any

import numpy as np
import torch
from torch import Tensor

from radproof.models.importers.onnx_ops.table import Call, operator
from radproof.models.importers.onnx_values import Dim, Dims, Live, Unconvertible, objects, rank_of, settled


@operator("Slice")
def _slice(call: Call) -> Any:
    x, rank = call[0], rank_of(call[0])
    if call.opset < 10:
        starts, ends, axes, steps = list(call.attr("starts")), list(call.attr("ends")), call.attr("axes"), None
    else:
        starts, ends, axes, steps = (call.numbers(at) for at in (1, 2, 3, 4))
    starts, ends = starts or [], ends or []
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        call.refuse(-rank <= axis < rank, f"a slice along axis {axis}")
        x = _cut(call, x, int(axis) % rank, start, end, step)
    return x


def _cut(call: Call, x: Any, axis: int, start: Any, end: Any, step: Any) -> Any:
    call.refuse(isinstance(step, int) and step != 0, "a slice without a step")
    if isinstance(x, Dims) or step < 0:
        size = call.tracer.size(x, axis)
        call.refuse(all(isinstance(n, int) for n in (size, start, end)), "a slice that depends on the image's size")
        kept = _indices(size, start, end, step)
        if isinstance(x, Dims):
            return settled(np.take(x.entries, kept, axis))
        return call.do(torch.index_select, x, axis, torch.tensor(kept, dtype=torch.int64))
    if isinstance(start, int) and isinstance(end, int) and start == 0 and end >= 2**31 - 1 and step == 1:
        return x
    where = (slice(None),) * axis + (slice(start, end, step),)
    return call.do(py.getitem, x, where)


def _indices(size: int, start: int, end: int, step: int) -> list[int]:
    start, end = (n + size if n < 0 else n for n in (start, end))
    if step > 0:
        return list(range(min(max(start, 0), size), min(max(end, 0), size), step))
    return list(range(min(max(start, 0), size - 1), min(max(end, -1), size - 1), step))


@operator("Gather")
def _gather(call: Call) -> Any:
    x, indices, axis = call[0], call[1], call.axis(0)
    if isinstance(x, Dims):
        return settled(np.take(x.entries, np.asarray(objects(indices), dtype=np.int64), axis))
    call.refuse(not isinstance(indices, Dims), "places that depend on the image's size")
    if isinstance(indices, Live):
        call.refuse(indices.rank == 1, "places that depend on the pixels")
        return call.do(torch.index_select, x, axis, indices)
    size = call.tracer.size(x, axis)
    assert isinstance(indices, Tensor)
    if indices.dim() == 0:
        return call.do(torch.select, x, axis, int(indices))
    if bool((indices < 0).any()):
        call.refuse(not isinstance(size, Dim), "places counted from an end that may move")
        indices = torch.where(indices < 0, indices + size, indices)
    if indices.dim() == 1:
        return call.do(torch.index_select, x, axis, indices)
    sizes = call.tracer.sizes(x)
    found = call.do(torch.index_select, x, axis, indices.reshape(-1))
    return call.do(torch.reshape, found, (*sizes[:axis], *indices.shape, *sizes[axis + 1 :]))


@operator("GatherElements")
def _gather_elements(call: Call) -> Any:
    return call.do(torch.gather, call[0], call.axis(0), call[1])


@operator("Split")
def _split(call: Call) -> Any:
    x, axis = call[0], call.axis(0)
    size, lengths = call.tracer.size(x, axis), call.setting("split", 1, 13)
    if lengths is None:
        call.refuse(isinstance(size, int), "a dimension of any size split evenly")
        each = -(-size // call.attr("num_outputs", call.outputs))
        count = call.attr("num_outputs", call.outputs)
        lengths = [each] * (count - 1) + [size - each * (count - 1)]
    if isinstance(x, Dims):
        raise Unconvertible("sizes split")
    starts = [sum(lengths[:at]) for at in range(len(lengths))]
    return tuple(call.do(torch.narrow, x, axis, start, length) for start, length in zip(starts, lengths, strict=True))
