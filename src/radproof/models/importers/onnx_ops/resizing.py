# SPDX-License-Identifier: Apache-2.0
"""Resize and Upsample: each axis is a small matrix or a list of places, from the formulas of the standard."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from radproof.models.importers.onnx_ops.table import Call, operator
from radproof.models.importers.onnx_values import Dim, Value, rank_of

Array = np.ndarray[Any, Any]
_NEAREST: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@operator("Upsample")
def _upsample(call: Call) -> Any:
    scales = list(call.attr("scales")) if call.opset < 9 else call.constants(1)
    call.refuse(bool(scales), "scales that are missing")
    return _resized(call, list(scales or []), None, "asymmetric", "floor")


@operator("Resize")
def _resize(call: Call) -> Any:
    rank = rank_of(call[0])
    if call.opset < 11:
        scales, sizes, axes = call.constants(1) or None, None, None
        way = "asymmetric"
    else:
        scales, sizes, axes = call.constants(2) or None, call.numbers(3) or None, call.attr("axes")
        way = call.attr("coordinate_transformation_mode", "half_pixel")
    call.refuse(bool(scales or sizes), "a size that is missing")
    call.refuse(call.attr("keep_aspect_ratio_policy", "stretch") == "stretch", "a kept aspect ratio")
    if axes is not None:
        scales, sizes = (_spread(call, given, axes, rank, one) for given, one in ((scales, True), (sizes, False)))
    nearest = call.attr("nearest_mode", "round_prefer_floor") if call.opset >= 11 else "simple"
    return _resized(call, scales, sizes, way, nearest)


def _spread(call: Call, given: list[Any] | None, axes: list[int], rank: int, scales: bool) -> list[Any] | None:
    if given is None:
        return None
    full = [1.0] * rank if scales else list(call.tracer.sizes(call[0]))
    for axis, value in zip(axes, given, strict=True):
        full[axis % rank] = value
    return full


def _resized(call: Call, scales: list[Any] | None, sizes: list[Any] | None, way: str, nearest: str) -> Any:
    x, mode = call[0], call.attr("mode", "nearest")
    call.refuse(not call.attr("antialias", 0) or mode == "linear", "this mode with antialiasing")
    if call.attr("antialias", 0):
        return _antialiased(call, scales, sizes, way)
    for axis in range(rank_of(x)):
        size = call.tracer.size(call[0], axis)
        if (scales is not None and scales[axis] == 1) or (sizes is not None and _same(call, sizes[axis], size, axis)):
            continue
        call.refuse(isinstance(size, int), "images of any size")
        if scales is None:
            target = int((sizes or [])[axis])
            scale = np.float32(target / size)
        else:
            scale = np.float32(scales[axis])
            target = int(np.floor(np.float32(size) * scale))
        call.refuse(0 < target <= 1 << 14, f"a side of {target}")
        x = _along(call, x, axis, (size, target, scale), way, nearest)
    return x


def _same(call: Call, asked: Any, size: Any, axis: int) -> bool:
    """Whether a size stays, for images of any size too; a file's one image stands for any number of them."""
    if isinstance(asked, Dim) or isinstance(size, Dim):
        both = isinstance(asked, Dim) and isinstance(size, Dim)
        return asked.examples == size.examples if both else call.one_image and axis == 0
    return asked == size


def _along(call: Call, x: Value, axis: int, sizes: tuple[int, int, Any], way: str, nearest: str) -> Any:
    size, target, scale = sizes
    mode = call.attr("mode", "nearest")
    at = _coordinates(call, way, size, target, scale)
    if mode == "nearest":
        rule = _NEAREST[("ceil" if scale < 1 else "floor") if nearest == "simple" else nearest]
        places = np.clip(rule(at), 0, size - 1).astype(np.int64)
        return call.do(torch.index_select, x, axis, torch.from_numpy(places))
    call.refuse(mode in ("linear", "cubic"), f"the mode {mode!r}")
    matrix = _linear(at, size) if mode == "linear" else _cubic(call, at, size)
    weights = torch.from_numpy(matrix.astype(np.float32))  # (target, size)
    if axis == rank_of(x) - 1:
        return call.do(torch.matmul, x, weights.t().contiguous())
    if axis == rank_of(x) - 2:
        return call.do(torch.matmul, weights, x)
    moved = call.do(torch.matmul, call.do(torch.transpose, x, axis, -1), weights.t().contiguous())
    return call.do(torch.transpose, moved, axis, -1)


def _coordinates(call: Call, way: str, size: int, target: int, scale: Any) -> Array:
    """Where in the input each output value lies, in float32 as runtimes compute it."""
    out = np.arange(target, dtype=np.float32)
    half = np.float32(0.5)
    if way == "asymmetric":
        return out / scale
    if way == "half_pixel" or (way == "pytorch_half_pixel" and target > 1):
        return (out + half) / scale - half
    if way == "pytorch_half_pixel":
        return np.zeros(1, dtype=np.float32)
    if way == "align_corners":
        return out * np.float32((size - 1) / max(target - 1, 1))
    if way == "tf_half_pixel_for_nn":
        return (out + half) / scale
    call.refuse(way == "half_pixel_symmetric", f"the coordinates {way!r}")
    shift = np.float32(size / 2 * (1 - target / (float(scale) * size)))
    return shift + (out + half) / scale - half


def _linear(at: Array, size: int) -> Array:
    at = np.clip(at.astype(np.float64), 0, size - 1)
    low = np.minimum(np.floor(at).astype(np.int64), size - 1)
    share = at - low
    matrix = np.zeros((len(at), size))
    rows = np.arange(len(at))
    np.add.at(matrix, (rows, low), 1 - share)
    np.add.at(matrix, (rows, np.minimum(low + 1, size - 1)), share)
    return matrix


def _cubic(call: Call, at: Array, size: int) -> Array:
    a, outside = call.attr("cubic_coeff_a", -0.75), call.attr("exclude_outside", 0)
    base = np.floor(at.astype(np.float64)).astype(np.int64)
    matrix, rows = np.zeros((len(at), size)), np.arange(len(at))
    for offset in (-1, 0, 1, 2):
        t = np.abs(at - (base + offset))
        near = (a + 2) * t**3 - (a + 3) * t**2 + 1
        far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
        weight = np.where(t <= 1, near, np.where(t < 2, far, 0.0))
        place = base + offset
        if outside:
            weight = np.where((place < 0) | (place >= size), 0.0, weight)
        np.add.at(matrix, (rows, np.clip(place, 0, size - 1)), weight)
    return matrix / matrix.sum(1, keepdims=True) if outside else matrix


def _antialiased(call: Call, scales: list[Any] | None, sizes: list[Any] | None, way: str) -> Any:
    x, own = call[0], call.tracer.sizes(call[0])
    call.refuse(way in ("half_pixel", "pytorch_half_pixel") and rank_of(x) == 4, "these coordinates with antialiasing")
    target = sizes[2:] if sizes is not None else [int(s * n) for s, n in zip((scales or [])[2:], own[2:], strict=True)]
    return call.do(F.interpolate, x, size=target, mode="bilinear", align_corners=False, antialias=True)
