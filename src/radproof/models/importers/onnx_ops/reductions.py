# SPDX-License-Identifier: Apache-2.0
"""Operators that take sums, means and extremes over dimensions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from radproof.models.importers.onnx_ops.table import OPERATORS, Call, Handler
from radproof.models.importers.onnx_values import Dims, Value, rank_of, settled

Reduce = Callable[[Call, Value, tuple[int, ...], bool], Any]


def _plain(function: Callable[..., Any]) -> Reduce:
    return lambda call, x, dims, keep: call.do(function, x, dims, keepdim=keep)


def _norm(order: int) -> Reduce:
    return lambda call, x, dims, keep: call.do(torch.linalg.vector_norm, x, order, dims, keep)


def _squares(call: Call, x: Value, dims: tuple[int, ...], keep: bool) -> Any:
    return call.do(torch.sum, call.do(torch.square, x), dims, keepdim=keep)


def _log_sum(call: Call, x: Value, dims: tuple[int, ...], keep: bool) -> Any:
    return call.do(torch.log, call.do(torch.sum, x, dims, keepdim=keep))


def _product(call: Call, x: Value, dims: tuple[int, ...], keep: bool) -> Any:
    for dim in sorted(dims, reverse=True):
        x = call.do(torch.prod, x, dim, keepdim=keep)
    return x


def _reduction(reduce: Reduce, since: int = 18) -> Handler:
    def convert(call: Call) -> Any:
        axes = call.setting("axes", 1, since)
        if not axes and call.opset >= since and call.attr("noop_with_empty_axes", 0):
            return call[0] if reduce is not _squares else call.do(torch.square, call[0])
        rank, keep = rank_of(call[0]), bool(call.attr("keepdims", 1))
        dims = tuple(sorted(a % rank for a in axes)) if axes else tuple(range(rank))
        call.refuse(all(-rank <= a < rank for a in axes or ()), f"axes {axes} of {rank} dimensions")
        value = call[0]
        if isinstance(value, Dims):
            call.refuse(reduce is _product and rank == 1, "this operator on sizes")
            return settled(np.multiply.reduce(value.entries, keepdims=keep))
        return reduce(call, value, dims, keep) if dims else value

    return convert


OPERATORS.update(
    {
        ("", "ReduceMean"): _reduction(_plain(torch.mean)),
        ("", "ReduceSum"): _reduction(_plain(torch.sum), since=13),
        ("", "ReduceMax"): _reduction(_plain(torch.amax)),
        ("", "ReduceMin"): _reduction(_plain(torch.amin)),
        ("", "ReduceL1"): _reduction(_norm(1)),
        ("", "ReduceL2"): _reduction(_norm(2)),
        ("", "ReduceSumSquare"): _reduction(_squares),
        ("", "ReduceLogSum"): _reduction(_log_sum),
        ("", "ReduceLogSumExp"): _reduction(_plain(torch.logsumexp)),
        ("", "ReduceProd"): _reduction(_product),
    }
)


def _place(function: Callable[..., Any]) -> Handler:
    def convert(call: Call) -> Any:
        call.refuse(not call.attr("select_last_index", 0), "the last of equal extremes")
        return call.do(function, call[0], call.axis(0), keepdim=bool(call.attr("keepdims", 1)))

    return convert


OPERATORS[("", "ArgMax")] = _place(torch.argmax)
OPERATORS[("", "ArgMin")] = _place(torch.argmin)
