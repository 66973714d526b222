# SPDX-License-Identifier: Apache-2.0
"""Operators between values, element by element."""

import functools
import math
import operator as py
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from radproof.models.importers.onnx_ops.table import OPERATORS, Call, Handler, operator, scalar
from radproof.models.importers.onnx_values import Dim, Dims, Live, Unconvertible, Value, objects, plain, settled

# ONNX types as they are computed here: all real numbers as float32.
TYPES = {
    **dict.fromkeys((1, 10, 11, 16), torch.float32),
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
}


def _whole(value: Value) -> bool:
    if isinstance(value, Dims):
        return all(isinstance(e.examples[0] if isinstance(e, Dim) else e, int) for e in value.entries.reshape(-1))
    return not (value.floating if isinstance(value, Live) else value.is_floating_point())


def partial(call: Call) -> bool:
    """Whether a node computes with sizes of which some depend on the input's shape, and with nothing live."""
    there = [value for value in call.inputs if value is not None]
    return any(isinstance(v, Dims) for v in there) and not any(isinstance(v, Live) for v in there)


def _binary(tensors: Callable[..., Any], numbers: Callable[[Any, Any], Any]) -> Handler:
    def convert(call: Call) -> Any:
        a, b = call[0], call[1]
        if partial(call):
            return settled(numbers(objects(a), objects(b)))
        first, second = scalar(a, b), scalar(b, a)
        both = isinstance(first, (Tensor, Live)) and isinstance(second, (Tensor, Live))
        return call.do(tensors if both else numbers, first, second)

    return convert


def _divide(call: Call) -> Any:
    whole = _whole(call[0]) and _whole(call[1])
    if partial(call):
        return settled((py.floordiv if whole else py.truediv)(objects(call[0]), objects(call[1])))
    if whole:
        return call.do(torch.div, call[0], call[1], rounding_mode="trunc")
    return _binary(torch.div, py.truediv)(call)


def _compare(tensors: Callable[..., Any], numbers: Callable[[Any, Any], bool]) -> Handler:
    def one(a: Any, b: Any) -> bool:
        tracer = next((x.tracer for x in (a, b) if isinstance(x, Dim)), None)
        found = numbers(a, b) if tracer is None else tracer.number(numbers, a, b)
        if isinstance(found, Dim):
            raise Unconvertible("a comparison whose outcome depends on the image's size")
        return bool(found)

    def convert(call: Call) -> Any:
        if partial(call):
            return settled(np.frompyfunc(one, 2, 1)(objects(call[0]), objects(call[1])))
        return call.do(tensors, call[0], call[1])

    return convert


def _variadic(function: Callable[..., Any]) -> Handler:
    def convert(call: Call) -> Any:
        values = [call[at] for at in range(len(call.inputs))]
        return functools.reduce(lambda a, b: call.do(function, a, b), values)

    return convert


OPERATORS.update(
    {
        ("", "Add"): _binary(torch.add, py.add),
        ("", "Sub"): _binary(torch.sub, py.sub),
        ("", "Mul"): _binary(torch.mul, py.mul),
        ("", "Div"): _divide,
        ("", "Pow"): _binary(torch.pow, py.pow),
        ("", "Equal"): _compare(torch.eq, py.eq),
        ("", "Greater"): _compare(torch.gt, py.gt),
        ("", "Less"): _compare(torch.lt, py.lt),
        ("", "GreaterOrEqual"): _compare(torch.ge, py.ge),
        ("", "LessOrEqual"): _compare(torch.le, py.le),
        ("", "And"): _compare(torch.logical_and, lambda a, b: bool(a and b)),
        ("", "Or"): _compare(torch.logical_or, lambda a, b: bool(a or b)),
        ("", "Xor"): _compare(torch.logical_xor, lambda a, b: bool(a) != bool(b)),
        ("", "Sum"): _variadic(torch.add),
    }
)


def _least(function: Callable[..., Any], number: Callable[..., Any]) -> Handler:
    def one(a: Any, b: Any) -> Any:
        tracer = next((x.tracer for x in (a, b) if isinstance(x, Dim)), None)
        return number(a, b) if tracer is None else tracer.number(number, a, b)

    def convert(call: Call) -> Any:
        if partial(call):
            values = [objects(call[at]) for at in range(len(call.inputs))]
            return settled(functools.reduce(np.frompyfunc(one, 2, 1), values))
        return _variadic(function)(call)

    return convert


OPERATORS[("", "Min")] = _least(torch.minimum, min)
OPERATORS[("", "Max")] = _least(torch.maximum, max)


@operator("Mean")
def _mean(call: Call) -> Any:
    return call.do(torch.div, _variadic(torch.add)(call), len(call.inputs))


@operator("Mod")
def _mod(call: Call) -> Any:
    return call.do(torch.fmod if call.attr("fmod", 0) else torch.remainder, call[0], call[1])


@operator("Where")
def _where(call: Call) -> Any:
    if partial(call):
        asked = objects(call[0])
        return settled(np.frompyfunc(lambda c, a, b: a if c else b, 3, 1)(asked, objects(call[1]), objects(call[2])))
    return call.do(torch.where, call[0], call[1], call[2])


@operator("Identity")
def _identity(call: Call) -> Any:
    return call[0]


@operator("Dropout")
def _dropout(call: Call) -> Any:
    training = call.constants(2)
    call.refuse(call.outputs == 1, "the mask of what is dropped")
    call.refuse(not (training and training[0]), "dropout that stays on while the model answers")
    return call[0]


@operator("Cast")
def _cast(call: Call) -> Any:
    return cast_to(call, call[0], int(call.attr("to")))


@operator("CastLike")
def _cast_like(call: Call) -> Any:
    like = call[1]
    call.refuse(not isinstance(like, Dims), "a cast to the type of a size")
    kind = like.examples[0].dtype if isinstance(like, Live) else like.dtype  # pyright: ignore[reportAttributeAccessIssue]
    return cast_to(call, call[0], next(number for number, name in TYPES.items() if name == kind))


def cast_to(call: Call, value: Value, to: int) -> Any:
    """A value as another ONNX type; real numbers stay float32."""
    call.refuse(to in TYPES, f"a cast to ONNX type {to}")
    kind = TYPES[to]
    if isinstance(value, Dims):
        change = (lambda e: e * 1.0) if kind == torch.float32 else plain
        return settled(np.frompyfunc(change, 1, 1)(value.entries))
    now = value.examples[0].dtype if isinstance(value, Live) else value.dtype
    return value if now == kind else call.do(torch.ops.aten.to.dtype, value, kind)


def _rounded(function: Callable[..., Any], number: Callable[[float], int]) -> Handler:
    def convert(call: Call) -> Any:
        value = call[0]
        if isinstance(value, Dims):
            return settled(np.frompyfunc(lambda e: plain(e, number) * 1.0, 1, 1)(value.entries))
        return call.do(function, value)

    return convert


OPERATORS[("", "Floor")] = _rounded(torch.floor, math.floor)
OPERATORS[("", "Ceil")] = _rounded(torch.ceil, math.ceil)
