# SPDX-License-Identifier: Apache-2.0
"""Pad, in all its modes."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from radproof.models.importers.onnx_ops.table import Call, operator
from radproof.models.importers.onnx_values import rank_of

_NUMPY: dict[str, Any] = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


@operator("Pad")
def _pad(call: Call) -> Any:
    x, rank = call[0], rank_of(call[0])
    told = call.setting("pads", 1, 11) or []
    axes = call.constants(3) if call.opset >= 18 else None
    axes = list(range(rank)) if axes is None else [int(a) % rank for a in axes]
    call.refuse(len(told) == 2 * len(axes), "pads that do not fit the dimensions")
    pads = [(0, 0)] * rank
    for at, axis in enumerate(axes):
        pads[axis] = (int(told[at]), int(told[at + len(axes)]))
    mode = call.attr("mode", "constant")
    if mode == "constant":
        value = call.attr("value", 0.0) if call.opset < 11 else (call.constants(2) or [0.0])[0]
        return call.do(F.pad, x, [p for pair in reversed(pads) for p in pair], value=value)
    call.refuse(mode in _NUMPY, f"the mode {mode!r}")
    for axis, pair in enumerate(pads):
        if pair != (0, 0):
            x = _mirrored(call, x, axis, pair, mode)
    return x


def _mirrored(call: Call, x: Any, axis: int, pair: tuple[int, int], mode: str) -> Any:
    size = call.tracer.size(x, axis)
    call.refuse(isinstance(size, int), "a dimension of any size, mirrored")
    places = np.pad(np.arange(size), tuple(max(p, 0) for p in pair), mode=_NUMPY[mode])
    places = places[max(-pair[0], 0) : len(places) - max(-pair[1], 0)]
    return call.do(torch.index_select, x, axis, torch.from_numpy(places))
