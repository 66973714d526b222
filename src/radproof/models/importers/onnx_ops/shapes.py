# SPDX-License-Identifier: Apache-2.0
"""Operators on shapes, and those that only change a shape."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from radproof.errors import BadModel
from radproof.models.importers.onnx_ops.table import Call, operator
from radproof.models.importers.onnx_values import MOST_FOLDED, Dim, Dims, Live, Unconvertible, Value, rank_of, settled


@operator("Shape")
def _shape(call: Call) -> Any:
    sizes = call.tracer.sizes(call[0])
    end = call.attr("end")
    return settled(list(sizes[int(call.attr("start", 0)) : end if end is None else int(end)]))


@operator("Size")
def _size(call: Call) -> Any:
    return settled(math.prod(call.tracer.sizes(call[0])))


@operator("Constant")
def _constant(call: Call) -> Any:
    for name, kind in (("value_float", torch.float32), ("value_floats", torch.float32)):
        if call.attr(name) is not None:
            return torch.tensor(call.attr(name), dtype=kind)
    for name in ("value_int", "value_ints"):
        if call.attr(name) is not None:
            return torch.tensor(call.attr(name), dtype=torch.int64)
    value = call.attr("value")
    call.refuse(isinstance(value, Tensor), "a constant of text or of a sparse array")
    return value


@operator("ConstantOfShape")
def _filled(call: Call) -> Any:
    value = call.attr("value")
    fill, kind = (0.0, torch.float32) if value is None else (value.reshape(-1)[0].item(), value.dtype)
    sizes = call.numbers(0) or []
    if any(isinstance(size, Dim) for size in sizes):
        return call.do(torch.ops.aten.new_full.default, call.tracer.input, sizes, fill, dtype=kind)
    _limit(call, math.prod(int(size) for size in sizes))
    return torch.full([int(size) for size in sizes], fill, dtype=kind)


@operator("Range")
def _range(call: Call) -> Any:
    start, limit, step = (call.constants(at) or [0] for at in range(3))
    call.refuse(step[0] != 0, "a range without a step")
    _limit(call, math.ceil((limit[0] - start[0]) / step[0]))
    first = call[0]
    kind = first.dtype if isinstance(first, Tensor) else torch.int64
    count = max(math.ceil((limit[0] - start[0]) / step[0]), 0)
    return (torch.arange(count, dtype=torch.float64) * step[0] + start[0]).to(kind)


def _limit(call: Call, count: float) -> None:
    if count > MOST_FOLDED:
        raise BadModel(f"{call.tracer.where} would make an array of {count} values, at most {MOST_FOLDED} are made")


@operator("Reshape")
def _reshape(call: Call) -> Any:
    x, target = call[0], call.numbers(1)
    call.refuse(target is not None, "a shape that is missing")
    sizes = list(target or [])
    if isinstance(x, Dims):
        return settled(x.entries.reshape([int(size) for size in sizes]))
    if not call.attr("allowzero", 0):
        sizes = [call.tracer.size(x, at) if _is(size, 0) else size for at, size in enumerate(sizes)]
    if call.one_image and sizes and _is(sizes[0], 1) and isinstance(x, Live) and rank_of(x):
        first = call.tracer.size(x, 0)
        sizes[0] = first if isinstance(first, Dim) else 1
    if (
        isinstance(x, Live)
        and len(sizes) == 2
        and _is(sizes[1], -1)
        and x.rank > 2
        and _same(sizes[0], call.tracer.size(x, 0))
    ):
        return call.do(torch.flatten, x, 1)
    return call.do(torch.reshape, x, sizes)


def _is(size: Any, number: int) -> bool:
    return not isinstance(size, Dim) and int(size) == number


def _same(a: Any, b: Any) -> bool:
    """Whether two sizes are one and the same, whatever the input's shape."""
    return (a.examples if isinstance(a, Dim) else a) == (b.examples if isinstance(b, Dim) else b)


@operator("Flatten")
def _flatten(call: Call) -> Any:
    axis = call.axis(1)
    if axis == 1 and rank_of(call[0]) > 1:
        return call.do(torch.flatten, call[0], 1)
    sizes = call.tracer.sizes(call[0])
    return call.do(torch.reshape, call[0], (math.prod(sizes[:axis]), math.prod(sizes[axis:])))


@operator("Squeeze")
def _squeeze(call: Call) -> Any:
    x, axes, rank = call[0], call.setting("axes", 1, 13), rank_of(call[0])
    if isinstance(x, Dims):
        return settled(np.squeeze(x.entries, axis=None if axes is None else tuple(axes)))
    sizes = call.tracer.sizes(x)
    gone = [at for at, size in enumerate(sizes) if size == 1] if axes is None else [_axis(a, rank) for a in axes]
    if call.one_image and axes is None and isinstance(x, Live):
        gone = [at for at in gone if at]
    call.refuse(all(isinstance(sizes[at], int) and sizes[at] == 1 for at in gone), "a size above 1 squeezed away")
    return call.do(torch.squeeze, x, tuple(gone)) if gone else x


@operator("Unsqueeze")
def _unsqueeze(call: Call) -> Any:
    x, axes = call[0], call.setting("axes", 1, 13) or []
    rank = rank_of(x) + len(axes)
    places = sorted(_axis(a, rank) for a in axes)
    if isinstance(x, Dims):
        return settled(np.expand_dims(x.entries, tuple(places)))
    for place in places:
        x = call.do(torch.unsqueeze, x, place)
    return x


def _axis(axis: Any, rank: int) -> int:
    if not -rank <= axis < rank:
        raise Unconvertible(f"axis {axis} of {rank} dimensions")
    return int(axis) % rank


@operator("Transpose")
def _transpose(call: Call) -> Any:
    order = call.attr("perm", list(reversed(range(rank_of(call[0])))))
    if list(order) == list(range(rank_of(call[0]))):
        return call[0]
    return call.do(torch.permute, call[0], tuple(order))


@operator("Expand")
def _expand(call: Call) -> Any:
    x, target = call[0], call.numbers(1) or []
    call.refuse(not isinstance(x, Dims), "sizes expanded")
    return call.do(torch.broadcast_to, x, _broadcast(call, x, target))


def _broadcast(call: Call, x: Value, target: list[Any]) -> list[Any]:
    own = list(call.tracer.sizes(x))
    rank = max(len(own), len(target))
    own, target = [1] * (rank - len(own)) + own, [1] * (rank - len(target)) + target
    return [mine if _is(asked, 1) else asked for mine, asked in zip(own, target, strict=True)]


@operator("Tile")
def _tile(call: Call) -> Any:
    return call.do(torch.tile, call[0], tuple(call.numbers(1) or ()))


@operator("DepthToSpace")
def _depth_to_space(call: Call) -> Any:
    x, block = call[0], int(call.attr("blocksize"))
    if call.attr("mode", "DCR") == "CRD":
        return call.do(torch.pixel_shuffle, x, block)
    n, c, h, w = call.tracer.sizes(x)
    x = call.do(torch.reshape, x, (n, block, block, c // (block * block), h, w))
    x = call.do(torch.permute, x, (0, 3, 4, 1, 5, 2))
    return call.do(torch.reshape, x, (n, c // (block * block), h * block, w * block))


@operator("SpaceToDepth")
def _space_to_depth(call: Call) -> Any:
    x, block = call[0], int(call.attr("blocksize"))
    n, c, h, w = call.tracer.sizes(x)
    x = call.do(torch.reshape, x, (n, c, h // block, block, w // block, block))
    x = call.do(torch.permute, x, (0, 3, 5, 1, 2, 4))
    return call.do(torch.reshape, x, (n, c * block * block, h // block, w // block))
