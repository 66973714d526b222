# SPDX-License-Identifier: Apache-2.0
"""The table of operators, and what a converting function is given of one node."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from radproof.models.importers.onnx_values import Dim, Dims, Live, Tracer, Unconvertible, Value, objects, rank_of


@dataclass(frozen=True)
class Call:
    """One ONNX node: its inputs, attributes and version, and where calls are written."""

    tracer: Tracer
    inputs: tuple[Value | None, ...]
    attributes: Mapping[str, Any]
    opset: int
    outputs: int  # how many of its outputs are used, counted up to the last one
    one_image: bool = False  # the file takes one image at once, and is being widened to any number

    def __getitem__(self, at: int) -> Value:
        found = self.get(at)
        if found is None:
            raise Unconvertible(f"input {at + 1} is missing")
        return found

    def get(self, at: int) -> Value | None:
        """An input that may be left out."""
        return self.inputs[at] if at < len(self.inputs) else None

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute, or what it is when left out."""
        return self.attributes.get(name, default)

    def do(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Write a call of torch."""
        return self.tracer.call(function, *args, **kwargs)

    def numbers(self, at: int) -> list[Any] | None:
        """An input as a list of numbers, some of which may depend on the input's shape; None: left out."""
        value = self.get(at)
        return None if value is None else objects(value).reshape(-1).tolist()

    def constants(self, at: int) -> list[Any] | None:
        """An input as a list of plain numbers; None: left out."""
        found = self.numbers(at)
        if found is not None and any(isinstance(entry, Dim) for entry in found):
            raise Unconvertible(f"input {at + 1} depends on the image's size")
        return found

    def setting(self, name: str, at: int, since: int) -> list[Any] | None:
        """Numbers that are an attribute before opset `since`, and input `at` from then on."""
        if self.opset >= since:
            return self.constants(at)
        found = self.attr(name)
        return None if found is None else list(found)

    def axis(self, default: int, rank: int | None = None) -> int:
        """The attribute axis, counted from the front."""
        rank = rank_of(self[0]) if rank is None else rank
        axis = int(self.attr("axis", default))
        if not -rank <= axis <= rank:
            raise Unconvertible(f"axis {axis} of {rank} dimensions")
        return axis + rank if axis < 0 else axis

    def refuse(self, unless: bool, what: str) -> None:
        """Raises Unconvertible with what is not converted, unless all is well."""
        if not unless:
            raise Unconvertible(what)


Handler = Callable[[Call], Any]
OPERATORS: dict[tuple[str, str], Handler] = {}
MICROSOFT = "com.microsoft"


def operator(*names: str, domain: str = "") -> Callable[[Handler], Handler]:
    """Enter a converting function under the names of its operators."""

    def enter(function: Handler) -> Handler:
        OPERATORS.update({(domain, name): function for name in names})
        return function

    return enter


def scalar(value: Value, beside: Value) -> Any:
    """An array of one number as a plain number, where that changes no shape."""
    if isinstance(value, Dims) and value.entries.size == 1:
        return value.entries.reshape(-1)[0]
    if isinstance(value, Tensor) and value.numel() == 1 and value.dim() <= rank_of(beside) and isinstance(beside, Live):
        same = value.is_floating_point() == beside.floating and value.dtype != torch.bool
        return value.item() if same else value
    return value
