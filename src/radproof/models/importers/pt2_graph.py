# SPDX-License-Identifier: Apache-2.0
"""An exported program's JSON as a graph: every call by name from a list of what is allowed, every argument plain."""

import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.fx import Graph, GraphModule, Node

from radproof.errors import BadModel

_aten: Any = torch.ops.aten
DTYPES: dict[Any, torch.dtype] = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32,
    8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}
_SYMBOLIC: dict[str, Any] = {
    f"_operator.{name}": getattr(operator, name)
    for name in (
        "eq",
        "ne",
        "le",
        "ge",
        "lt",
        "gt",
        "neg",
        "mul",
        "add",
        "sub",
        "floordiv",
        "mod",
        "truediv",
        "getitem",
    )
} | {f"torch.{name}": getattr(torch, name) for name in ("sym_max", "sym_min", "sym_int", "sym_float", "sym_not")}
_FORBIDDEN = re.compile(r"from_file|^_foreach|^_fused|^record_|^set_|resize_|^_cudnn_init|^_sparse|^sparse_")
_STRINGS = frozenset(
    ("none", "tanh", "constant", "reflect", "replicate", "circular", "trunc", "floor", "valid", "same")
)
_EINSUM = re.compile(r"[A-Za-z., >-]{1,80}")
_MOST = 100_000


class Program:
    """What an exported program says of itself: its calls, weights and its one image."""

    def __init__(self, file: str, document: Mapping[str, Any]) -> None:
        self.file = file
        try:
            module = document["graph_module"]
            self.graph: Mapping[str, Any] = module["graph"]
            self.calls: Sequence[Mapping[str, Any]] = self.graph["nodes"]
            inputs, outputs = module["signature"]["input_specs"], module["signature"]["output_specs"]
            self.weights = dict(_weight(spec, file) for spec in inputs if "user_input" not in spec)
            users = [spec["user_input"]["arg"] for spec in inputs if "user_input" in spec]
            answers = [index for index, spec in enumerate(outputs) if "user_output" in spec]
            self._one(users, answers)
            self.user = str(users[0]["as_tensor"]["name"])
            self.answer = str(self.graph["outputs"][answers[0]]["as_tensor"]["name"])
            self.given: list[int | None] = [
                size.get("as_int") for size in self.graph["tensor_values"][self.user]["sizes"]
            ]
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            raise broken(file, "its program is not as torch writes it", error) from None
        if len(self.calls) > _MOST:
            raise BadModel(f"{file} makes {len(self.calls)} calls; {_MOST} at most are read")

    @property
    def named(self) -> set[str]:
        """Names of the weights in the file."""
        return {name for name, _ in self.weights.values()}

    def _one(self, users: list[Any], answers: list[int]) -> None:
        if len(users) != 1 or "as_tensor" not in users[0]:
            raise BadModel(f"{self.file} takes {len(users)} inputs, expected one tensor of images; export a wrapper")
        if len(answers) != 1:
            raise BadModel(
                f"{self.file} gives {len(answers)} outputs, expected one with logits; export a wrapper that returns "
                "only those"
            )


def rebuilt(program: Program, weights: Mapping[str, Tensor]) -> GraphModule:
    """The program as a graph with the weights of its file. Raises BadModel for what is not allowed, by name."""
    root = nn.Module()
    graph = Graph()
    known: dict[str, Any] = {program.user: graph.placeholder("x")}
    held: dict[str, str] = {}
    for index, (name, (own, trained)) in enumerate(program.weights.items()):
        if own not in held:
            held[own] = f"weight_{index}"
            value = weights[own]
            if trained and value.is_floating_point():
                root.register_parameter(held[own], nn.Parameter(value, requires_grad=False))
            else:
                root.register_buffer(held[own], value)
        known[name] = graph.get_attr(held[own])
    try:
        for call in program.calls:
            _add(graph, call, known, program.file)
        graph.output(known[program.answer])
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise broken(program.file, "its program is not as torch writes it", error) from None
    return GraphModule(root, graph)


def broken(file: str, what: str, error: Exception) -> BadModel:
    """The error for a file that is not in order."""
    return BadModel(f"{file} is damaged, or of an unknown version: {what} ({type(error).__name__})")


def integer(told: Mapping[str, Any]) -> int:
    """A size, which must be a number. Raises ValueError."""
    value = told.get("as_int")
    if type(value) is not int:
        raise ValueError("no whole number")
    return value


def _weight(spec: Mapping[str, Any], file: str) -> tuple[str, tuple[str, bool]]:
    for kind, key in (
        ("parameter", "parameter_name"),
        ("buffer", "buffer_name"),
        ("tensor_constant", "tensor_constant_name"),
    ):
        if kind in spec:
            return str(spec[kind]["arg"]["name"]), (str(spec[kind][key]), kind == "parameter")
    what = str(next(iter(spec), "nothing"))[:40]
    raise BadModel(f"{file} takes {what} besides images and weights; export the network for images alone")


def _add(graph: Graph, call: Mapping[str, Any], known: dict[str, Any], file: str) -> None:
    target = _target(str(call["target"]), file)
    args: list[Any] = []
    keywords: dict[str, Any] = {}
    order = {argument.name: argument.kwarg_only for argument in _schema(target).arguments} if _is_aten(target) else None
    for given in call["inputs"]:
        name, value = str(given["name"]), _value(given["arg"], known, file)
        if order is None:
            args.append(value)
        elif name not in order:
            raise BadModel(f"{file}: {str(call['target'])[:80]} takes no argument {name[:40]!r} in this torch")
        elif not order[name] and list(order).index(name) == len(args) and not keywords:
            args.append(value)
        else:
            keywords[name] = value
    node = graph.call_function(target, tuple(args), keywords)
    _name_outputs(graph, node, call["outputs"], known, single=_single(target))


def _is_aten(target: Any) -> bool:
    return isinstance(target, OpOverload)


def _schema(target: Any) -> Any:
    return target._schema


def _target(name: str, file: str) -> Any:
    parts = name.split(".")
    if name in _SYMBOLIC:
        return _SYMBOLIC[name]
    if parts[:3] == ["torch", "ops", "aten"] and len(parts) == 5 and not _FORBIDDEN.search(parts[3]):
        packet = getattr(_aten, parts[3], None) if re.fullmatch(r"\w+", parts[3]) else None
        found = getattr(packet, parts[4], None) if packet is not None and parts[4] in packet.overloads() else None
        if isinstance(found, OpOverload):
            return found
    shown = name.removeprefix("torch.ops.")[:80]
    raise BadModel(f"{file} calls {shown!r}, which is not one of torch's own operators allowed here; export without it")


def _single(target: Any) -> bool:
    if not _is_aten(target):
        return True
    returns = _schema(target).returns
    return len(returns) == 1 and not isinstance(returns[0].type, torch.ListType)


def _name_outputs(graph: Graph, node: Node, outputs: Sequence[Any], known: dict[str, Any], *, single: bool) -> None:
    if single:
        for output in outputs[:1]:
            name = _names(output)
            known[cast(str, name)] = node
        return
    flat = outputs[0]["as_tensors"] if len(outputs) == 1 and "as_tensors" in outputs[0] else outputs
    for index, output in enumerate(flat):
        name = output.get("name") or _names(output)
        if name is not None:
            known[str(name)] = graph.call_function(operator.getitem, (node, index))


def _names(output: Mapping[str, Any]) -> str | None:
    (kind, told), *_ = output.items()
    if kind == "as_tensor":
        return str(told["name"])
    return str(told["as_name"]) if kind.startswith("as_sym_") else None


def _value(told: Mapping[str, Any], known: Mapping[str, Any], file: str) -> Any:
    if len(told) != 1:
        raise ValueError("an argument with several values")
    (kind, value), *_ = told.items()
    if kind in ("as_tensor", "as_sym_int", "as_sym_float", "as_sym_bool", "as_optional_tensor"):
        return _one(value, known)
    if kind in ("as_tensors", "as_optional_tensors", "as_sym_ints", "as_sym_floats", "as_sym_bools"):
        return [_one(part, known) for part in value]
    if kind == "as_none":
        return None
    if kind in ("as_int", "as_float", "as_bool"):
        return _number(value)
    if kind in ("as_ints", "as_floats", "as_bools"):
        return [_number(part) for part in value]
    if kind == "as_string" and (value in _STRINGS or _EINSUM.fullmatch(value)):
        return value
    if kind == "as_scalar_type":
        return DTYPES[value]
    if kind == "as_memory_format":
        return _FORMATS[value]
    if kind == "as_layout" and value == 7:
        return torch.strided
    if kind == "as_device":
        return torch.device("cpu")
    raise BadModel(f"{file} gives a call {kind[:40]!r}, which no convolutional network needs; export without it")


def _one(told: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
    if "as_tensor" in told:
        told = told["as_tensor"]
    if told.get("as_none") is not None:
        return None
    for key in ("name", "as_name"):
        if key in told:
            return known[told[key]]
    return _number(next(iter(told.values())))


def _number(value: Any) -> Any:
    if isinstance(value, str) and value in ("Infinity", "-Infinity", "NaN"):
        return float(value.replace("Infinity", "inf"))
    if not isinstance(value, bool | int | float):
        raise ValueError("no number")
    return value
