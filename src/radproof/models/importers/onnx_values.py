# SPDX-License-Identifier: Apache-2.0
"""What an ONNX value is while a graph is built: a constant, something live in the graph, or sizes known in part.

Live values carry examples without memory, one for each input shape that is tried at once: what differs between them
depends on the input's shape, and what does not is a plain number.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx, nn

from radproof.errors import BadModel

MOST_VALUES = 1 << 28  # in one array, whether a constant or an activation
MOST_FOLDED = 1 << 26  # in a constant that is computed, not stored


class Unconvertible(BadModel):
    """An operator, or a way of using one, that has no conversion; the network may still be a good one."""


@dataclass(frozen=True, eq=False)
class Live:
    """A tensor that depends on the network's input."""

    node: fx.Node
    examples: tuple[Tensor, ...]  # on the meta device

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return self.examples[0].dim()

    @property
    def floating(self) -> bool:
        """Whether it holds real numbers."""
        return self.examples[0].is_floating_point()


@dataclass(frozen=True, eq=False)
class Dim:
    """A number that depends on the input's shape."""

    tracer: "Tracer"
    node: fx.Node
    examples: tuple[Any, ...]

    def __add__(self, other: Any) -> Any:
        return self.tracer.number(operator.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return self.tracer.number(operator.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return self.tracer.number(operator.sub, self, other)

    def __rsub__(self, other: Any) -> Any:
        return self.tracer.number(operator.sub, other, self)

    def __mul__(self, other: Any) -> Any:
        return self.tracer.number(operator.mul, self, other)

    def __rmul__(self, other: Any) -> Any:
        return self.tracer.number(operator.mul, other, self)

    def __truediv__(self, other: Any) -> Any:
        return self.tracer.number(operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self.tracer.number(operator.truediv, other, self)

    def __floordiv__(self, other: Any) -> Any:
        return self.tracer.number(operator.floordiv, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self.tracer.number(operator.floordiv, other, self)

    def __neg__(self) -> Any:
        return self.tracer.number(operator.neg, self)


@dataclass(frozen=True, eq=False)
class Dims:
    """A small array of numbers of which some depend on the input's shape (numpy, of objects)."""

    entries: "np.ndarray[Any, Any]"


Value = Tensor | Live | Dims
Number = int | float | Dim


class Tracer:
    """Writes calls into a graph and computes at once what depends on constants alone."""

    def __init__(self, examples: Sequence[tuple[int, ...]], names: Mapping[int, str]) -> None:
        self.graph = fx.Graph()
        self.root = nn.Module()
        node = self.graph.placeholder("x")
        self.input = Live(node, tuple(torch.empty(shape, device="meta") for shape in examples))
        self.where = ""  # the ONNX node in hand, for messages and names
        self._names = names  # of stored weights, by identity
        self._kept: dict[int, tuple[Tensor, fx.Node]] = {}
        self._held: set[int] = set()

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The value of a call: a constant where all that goes in is constant, otherwise live.

        Raises BadModel where the shapes do not fit or the result would be beyond all measure.
        """
        parts = list(_leaves((args, kwargs)))
        live = any(isinstance(part, (Live, Dim)) for part in parts)
        count = len(self.input.examples) if live else 1
        examples = tuple(self._try(function, args, kwargs, at) for at in range(count))
        most = MOST_VALUES if live else MOST_FOLDED
        if any(example.numel() > most for example in examples):
            raise BadModel(f"{self.where} would make an array of {examples[0].numel()} values, at most {most} are made")
        if not live:
            return function(*args, **kwargs)
        node = self.graph.call_function(function, _mapped(args, self._argument), _mapped(kwargs, self._argument))
        return Live(node, examples)

    def number(self, function: Callable[..., Any], *args: Any) -> Any:
        """A number computed from numbers: plain if it is the same for every input shape."""
        count = len(self.input.examples)
        found = [function(*(a.examples[at] if isinstance(a, Dim) else a for a in args)) for at in range(count)]
        if all(value == found[0] for value in found):
            return found[0]
        node = self.graph.call_function(function, tuple(_mapped(args, self._argument)))
        return Dim(self, node, tuple(found))

    def hold(self, *values: Value) -> None:
        """Keep stored weights as buffers: no gradient ever goes to them."""
        self._held.update(id(value) for value in values)

    def size(self, value: Value, axis: int) -> Any:
        """The size of a dimension, a plain number if it is always the same."""
        if not isinstance(value, Live):
            shape = value.shape if isinstance(value, Tensor) else value.entries.shape
            return int(shape[axis])
        found = [int(example.shape[axis]) for example in value.examples]
        if all(size == found[0] for size in found):
            return found[0]
        axis %= value.rank
        return Dim(self, self.graph.call_function(torch.ops.aten.sym_size.int, (value.node, axis)), tuple(found))

    def sizes(self, value: Value) -> tuple[Any, ...]:
        """All of them."""
        return tuple(self.size(value, axis) for axis in range(rank_of(value)))

    def _try(self, function: Callable[..., Any], args: Any, kwargs: Any, at: int) -> Tensor:
        def example(part: Any) -> Any:
            if isinstance(part, (Live, Dim)):
                return part.examples[at]
            return part.to("meta") if isinstance(part, Tensor) else part

        try:
            return function(*_mapped(args, example), **_mapped(kwargs, example))
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
            line = " ".join(str(error).split())[:200]
            raise BadModel(f"{self.where} does not fit what goes into it: {line}") from None

    def _argument(self, part: Any) -> Any:
        if isinstance(part, (Live, Dim)):
            return part.node
        return self._stored(part) if isinstance(part, Tensor) else part

    def _stored(self, tensor: Tensor) -> fx.Node:
        if id(tensor) in self._kept:
            return self._kept[id(tensor)][1]
        name = self._fresh(self._names.get(id(tensor), "constant"))
        if id(tensor) in self._names and id(tensor) not in self._held and tensor.is_floating_point():
            self.root.register_parameter(name, nn.Parameter(tensor))
        else:
            self.root.register_buffer(name, tensor)
        node = self.graph.get_attr(name)
        self._kept[id(tensor)] = (tensor, node)
        return node

    def _fresh(self, wanted: str) -> str:
        plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in wanted[:80]).strip("_") or "constant"
        plain = plain if plain[0].isalpha() else f"w{plain}"
        name, count = plain, 1
        while hasattr(self.root, name) or name in ("graph", "code"):
            name, count = f"{plain}_{count}", count + 1
        return name


def rank_of(value: Value) -> int:
    """Number of dimensions."""
    if isinstance(value, Dims):
        return value.entries.ndim
    return value.rank if isinstance(value, Live) else value.dim()


def settled(entries: Any) -> Value:
    """Numbers as a constant where none of them depends on the input's shape."""
    array = cast("np.ndarray[Any, Any]", np.asarray(entries, dtype=object))
    flat = array.reshape(-1).tolist()
    if any(isinstance(entry, Dim) for entry in flat):
        return Dims(array)
    if flat and all(isinstance(entry, (bool, np.bool_)) for entry in flat):
        return torch.tensor(flat, dtype=torch.bool).reshape(array.shape)
    kind = torch.float32 if any(isinstance(entry, float) for entry in flat) else torch.int64
    return torch.tensor(flat, dtype=kind).reshape(array.shape)


def objects(value: Value) -> "np.ndarray[Any, Any]":
    """Numbers of a constant, or of sizes known in part, as Python objects."""
    if isinstance(value, Dims):
        return value.entries
    if isinstance(value, Live):
        raise Unconvertible("numbers that depend on the image's pixels")
    made = np.empty(value.numel(), dtype=object)
    made[:] = value.reshape(-1).tolist()
    return made.reshape(tuple(value.shape))


def plain(number: Any, function: Callable[[float], int] = math.floor) -> Any:
    """A number rounded to a whole one, whether or not it depends on the input's shape."""
    return number.tracer.number(function, number) if isinstance(number, Dim) else function(number)


def _leaves(tree: Any) -> Any:
    if isinstance(tree, (tuple, list)):
        for part in cast("Sequence[Any]", tree):
            yield from _leaves(part)
    elif isinstance(tree, dict):
        yield from _leaves(tuple(cast("dict[str, Any]", tree).values()))
    elif isinstance(tree, slice):
        yield from (tree.start, tree.stop, tree.step)
    else:
        yield tree


def _mapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(tree, (tuple, list)):
        return tuple(_mapped(part, change) for part in cast("Sequence[Any]", tree))
    if isinstance(tree, dict):
        return {key: _mapped(part, change) for key, part in cast("dict[str, Any]", tree).items()}
    if isinstance(tree, slice):
        return slice(change(tree.start), change(tree.stop), change(tree.step))
    return change(tree)
