# SPDX-License-Identifier: Apache-2.0
"""An ONNX file is parsed and looked through before anything else sees it: nothing is loaded from outside the file.

Every array's size is told from its dimensions and compared with the bytes that are there before it is made.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radproof.errors import BadInput, BadModel
from radproof.models.importers.onnx_wire import refuse_bombs

if TYPE_CHECKING:
    from onnx import AttributeProto, ModelProto, NodeProto, TensorProto

MOST_BYTES = 1 << 30  # of a file
MOST_NODES = 20_000
MOST_NAMES = 1_000  # inputs or outputs of one node
MOST_CALLS = 30  # functions that call functions
OPSETS = range(7, 26)
DOMAINS = ("", "ai.onnx", "com.microsoft")
BLACK_BOX = "it can still be assessed as a black box: radproof assess --black-box"
_WIDTH = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}  # bytes by data type
_FIELD = {
    **dict.fromkeys((1,), "float_data"),
    **dict.fromkeys((2, 3, 4, 5, 6, 9, 10, 16), "int32_data"),
    **dict.fromkeys((7,), "int64_data"),
    **dict.fromkeys((11,), "double_data"),
    **dict.fromkeys((12, 13), "uint64_data"),
}


def onnx_package() -> Any:
    """The onnx package. Raises BadInput where it is not installed."""
    try:
        import onnx
    except ImportError:
        raise BadInput("reading ONNX models needs the onnx packages: pip install 'radproof[onnx]'") from None
    return onnx


def load_checked(path: Path, *, most_bytes: int = MOST_BYTES) -> "ModelProto":
    """The parsed file, functions of its own put in place. Raises BadModel for whatever is not a network in one file."""
    onnx = onnx_package()
    data = _bytes(path, most_bytes)
    refuse_bombs(data, path.name)
    try:
        model: ModelProto = onnx.ModelProto.FromString(data)
    except Exception:  # protobuf raises several kinds, by its build
        raise BadModel(f"{path.name} is not a whole ONNX file; export the model again") from None
    _refuse_kinds(model, path.name)
    _check_tensors(model, path.name)
    model = _inlined(model, path.name)
    _check_graph(model, path.name)
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # the checker's own classes and plain ones
        raise BadModel(f"{path.name} breaks the ONNX rules: {_line(error)}; export the model again") from None
    return model


def opset_of(model: "ModelProto") -> int:
    """The version of the standard operators that the file uses."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)


def label(node: "NodeProto") -> str:
    """How a message names a node."""
    name = node.name or (node.output[0] if node.output else "")
    return f"{node.op_type} ({_short(name)})"


def _bytes(path: Path, most: int) -> bytes:
    if not path.is_file():
        raise BadModel(f"no file {path.name}; expected an ONNX model")
    size = path.stat().st_size
    if size > most:
        raise BadModel(f"{path.name} has {size} bytes, at most {most} are read")
    if size == 0:
        raise BadModel(f"{path.name} is empty; expected an ONNX model")
    return path.read_bytes()


def _refuse_kinds(model: "ModelProto", name: str) -> None:
    if not model.graph.node:
        raise BadModel(f"{name} holds no ONNX network")
    if len(model.graph.node) > MOST_NODES:
        raise BadModel(f"{name} has {len(model.graph.node)} operators, at most {MOST_NODES} are read")
    if model.training_info or model.graph.sparse_initializer:
        raise BadModel(f"{name} holds training steps or sparse weights, which are not read; export it for inference")
    if opset_of(model) not in OPSETS:
        raise BadModel(
            f"{name} uses version {opset_of(model)} of the ONNX operators, {OPSETS[0]} to {OPSETS[-1]} are read; "
            f"export it with opset_version=17"
        )
    own = {function.domain for function in model.functions}
    for node in _all_nodes(model):
        if node.domain not in DOMAINS and node.domain not in own:
            raise BadModel(
                f"{name}: operator {label(node)} comes from the domain {_short(node.domain)!r}; operators from "
                "outside ONNX are neither converted nor run; export the model without them"
            )
        if len(node.input) > MOST_NAMES or len(node.output) > MOST_NAMES:
            raise BadModel(f"{name}: {label(node)} has more than {MOST_NAMES} inputs or outputs")
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                raise BadModel(
                    f"{name}: operator {label(node)} holds a graph of its own (a loop or a branch), which is neither "
                    "converted nor run; export the model without control flow"
                )


def _check_tensors(model: "ModelProto", name: str) -> None:
    total = 0
    for tensor in _all_tensors(model):
        if tensor.data_location != 0 or tensor.external_data:
            raise BadModel(
                f"{name}: the weights {_short(tensor.name)!r} lie in another file, which is never opened; save the "
                "model as one file (torch.onnx.export(..., external_data=False))"
            )
        total += _bytes_of(tensor, name)
        if total > MOST_BYTES:
            raise BadModel(f"{name} holds more than {MOST_BYTES} bytes of weights")


def _bytes_of(tensor: "TensorProto", name: str) -> int:
    """What an array takes in memory, after its dimensions were compared with the values that are there."""
    width = _WIDTH.get(tensor.data_type)
    if width is None or tensor.HasField("segment"):
        raise BadModel(f"{name}: {_short(tensor.name)!r} is stored as ONNX type {tensor.data_type}, which is not read")
    if any(size < 0 for size in tensor.dims) or len(tensor.dims) > 16:
        raise BadModel(f"{name}: {_short(tensor.name)!r} has the dimensions {list(tensor.dims)[:16]}")
    told = math.prod(tensor.dims)
    there = (
        len(tensor.raw_data) / width if tensor.HasField("raw_data") else len(getattr(tensor, _FIELD[tensor.data_type]))
    )
    if told != there:
        raise BadModel(f"{name}: {_short(tensor.name)!r} should hold {told} values and holds {there:g}")
    return told * width


def _check_graph(model: "ModelProto", name: str) -> None:
    """Each value is made once, and before it is used: no cycle, nothing missing, no name twice."""
    graph = model.graph
    given = [value.name for value in graph.input]
    weights = [tensor.name for tensor in graph.initializer]
    _refuse_twice(given, name)
    _refuse_twice(weights, name)
    known = {*given, *weights}
    made = {output for node in graph.node for output in node.output}
    for node in graph.node:
        for value in node.input:
            if value and value not in known:
                why = (
                    "before it is made: the graph has a cycle or is not sorted"
                    if value in made
                    else "that nobody makes"
                )
                raise BadModel(f"{name}: {label(node)} uses {_short(value)!r} {why}")
        for value in node.output:
            if value and value in known:
                raise BadModel(f"{name}: {label(node)} makes {_short(value)!r}, which was there already")
            known.add(value)
    for value in graph.output:
        if value.name not in known:
            raise BadModel(f"{name}: the output {_short(value.name)!r} is never made")


def _refuse_twice(names: list[str], file: str) -> None:
    if len(set(names)) < len(names):
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise BadModel(f"{file}: two inputs or weights are called {_short(twice)!r}")


def _inlined(model: "ModelProto", name: str) -> "ModelProto":
    """The model's own functions in the places where they are called, if that stays within the cap."""
    if not model.functions:
        return model
    _check_expansion(model, name)
    from onnx import inliner

    try:
        flat: ModelProto = inliner.inline_local_functions(model)
    except Exception as error:  # the inliner's own classes and plain ones
        raise BadModel(f"{name}: its functions cannot be put in place: {_line(error)}") from None
    _refuse_kinds(flat, name)
    return flat


def _check_expansion(model: "ModelProto", name: str) -> None:
    bodies = {(function.domain, function.name): function.node for function in model.functions}
    sizes = dict.fromkeys(bodies, 1)
    for _ in range(MOST_CALLS):  # a function of functions settles after as many rounds as they are deep
        fresh = {key: _size(nodes, sizes) for key, nodes in bodies.items()}
        if max(fresh.values()) > MOST_NODES or fresh == sizes:
            break
        sizes = fresh
    else:
        raise BadModel(f"{name}: its functions call each other more than {MOST_CALLS} deep, or in a circle")
    if max(_size(model.graph.node, fresh), *fresh.values()) > MOST_NODES:
        raise BadModel(f"{name}: its functions unfold to more than {MOST_NODES} operators")


def _size(nodes: "Iterable[NodeProto]", sizes: dict[tuple[str, str], int]) -> int:
    return sum(sizes.get((node.domain, node.op_type), 1) for node in nodes)


def _all_nodes(model: "ModelProto") -> "Iterator[NodeProto]":
    yield from model.graph.node
    for function in model.functions:
        yield from function.node


def _all_tensors(model: "ModelProto") -> "Iterator[TensorProto]":
    yield from model.graph.initializer
    attributes: list[AttributeProto] = [a for node in _all_nodes(model) for a in node.attribute]
    attributes += [a for function in model.functions for a in function.attribute_proto]
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            raise BadModel(f"the attribute {_short(attribute.name)!r} holds a sparse tensor, which is not read")


def _short(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name[:80])


def _line(error: Exception) -> str:
    return _short(" ".join(str(error).split()))
