# SPDX-License-Identifier: Apache-2.0
"""The proof that a graph answers as its ONNX file does: both are asked, and what differs is found."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, fx

from radproof.errors import BadModel
from radproof.models.imported import Imported
from radproof.models.importers.onnx_checks import BLACK_BOX, load_checked
from radproof.models.importers.onnx_end import end_of
from radproof.models.importers.onnx_quantised import agreement
from radproof.models.importers.onnx_session import Session
from radproof.models.importers.onnx_signature import Signature, signature_of

if TYPE_CHECKING:
    from onnx import ModelProto

TOLERANCE = 1e-4  # of the largest answer, or of 1
ROUNDING = 8.0  # times what single precision itself costs, where that is more
WORST = 1e-2
_HALF = (10, 16)
_HALF_TOLERANCE = 2e-2  # half precision rounds at every step
_LAST_ROUNDING = 2e-2  # what a quantised file may do to its own probabilities


def is_half(model: "ModelProto", signature: Signature) -> bool:
    """Whether a file computes in half precision."""
    return signature.kind in _HALF or any(tensor.data_type in _HALF for tensor in model.graph.initializer)


def prove(path: Path, imported: Imported, images: Tensor | None = None, tolerance: float | None = None) -> float:
    """The largest difference between the graph and onnxruntime, on made images and on those given (N, C, H, W).

    A quantised file's `exact` is compared instead of its stand-in, through the file's own softmax or sigmoid.
    Raises BadModel that says where they part.
    """
    model = load_checked(path)
    signature = signature_of(model, path.name)
    found = probes(signature, imported.size or signature.size or (64, 64))
    if images is not None:
        found.append(images)
    return compare(model, signature, imported, found, tolerance)


def proved(path: Path, imported: Imported, images: Tensor, *, one_each: bool) -> str:
    """The proof on real images (N, C, H, W) as the network takes them, in words for a report. Raises as prove.

    one_each: every answer is a yes or no of its own.
    """
    try:
        prove(path, imported, images)
    except BadModel as error:
        raise BadModel(f"{path.name}: {error}") from None
    if imported.exact is None:
        return f"on {len(images)} of the data's images it answers as its file does"
    found = agreement(imported.exact(images), _logits(imported, images), one_each=one_each)
    return found.told("of the data's images", judged=True)


def probes(signature: Signature, size: tuple[int, int]) -> list[Tensor]:
    """Made images, normalised: even, normal, extreme and constant ones; batches of 3 and of 1, or as the file takes."""
    rng = torch.Generator().manual_seed(0)
    shape = signature.shaped(signature.batch or 3, *size)
    signs = torch.randint(0, 2, shape, generator=rng) * 6.0 - 3.0
    even, normal = torch.rand(shape, generator=rng), torch.randn(shape, generator=rng)
    constant = torch.full(signature.shaped(signature.batch or 1, *size), 0.5)
    return [even, normal, signs, constant]


def compare(
    model: "ModelProto",
    signature: Signature,
    imported: Imported,
    images: Sequence[Tensor],
    tolerance: float | None = None,
) -> float:
    """As prove, for a file that was checked already."""
    session, worst, end = Session(model, signature), 0.0, end_of(model, signature)
    if tolerance is None:
        tolerance = _HALF_TOLERANCE if is_half(model, signature) else TOLERANCE
    if imported.exact is not None and end.head is not None:
        tolerance = max(tolerance, _LAST_ROUNDING)
    for batch in images:
        original = torch.from_numpy(session.ask(batch.numpy()))
        answer = _answer(imported, batch) if imported.exact is None else end.closed(imported.exact(batch))
        if not bool(original.isfinite().all()):
            raise BadModel("the network answers NaN or infinity to ordinary images; check its weights")
        if answer.shape != original.shape:
            raise BadModel(f"the converted network gives {tuple(answer.shape)}, the original {tuple(original.shape)}")
        apart = float((answer - original).abs().max()) / max(1.0, float(original.abs().max()))
        if not apart <= tolerance and not apart <= _allowance(imported, batch, tolerance):
            quantised = imported.exact is not None
            where = "" if quantised else _first_apart(model, signature, imported.graph, batch, tolerance)
            raise BadModel(
                f"the converted network differs from its ONNX file by {apart:.2g}, at most {tolerance:g} is allowed"
                f"{where}; {BLACK_BOX}"
            )
        worst = max(worst, apart)
    return worst


def _allowance(imported: Imported, x: Tensor, tolerance: float) -> float:
    """What rounding alone explains: a few times what the graph itself differs by in double precision, up to a cap."""
    if imported.exact is not None:
        return tolerance
    finer = replace(imported, graph=deepcopy(imported.graph).double())
    try:
        double, single = _answer(finer, x.double()), _answer(imported, x)
    except RuntimeError:  # a constant that is cast on the way does not fit the finer numbers
        return tolerance
    own = float((double - single).abs().max()) / max(1.0, float(double.abs().max()))
    return min(max(tolerance, ROUNDING * own), WORST)


def _answer(imported: Imported, x: Tensor) -> Tensor:
    found = _logits(imported, x)
    return {"softmax": lambda: found.softmax(1), "sigmoid": found.sigmoid}[imported.head]() if imported.head else found


def _logits(imported: Imported, x: Tensor) -> Tensor:
    """The graph's own, in pieces of the size that it takes, the last one filled up."""
    step = imported.batch or len(x)
    filled = torch.cat([x, x[-1:].expand(-len(x) % step, *x.shape[1:])])
    with torch.no_grad():
        return torch.cat([imported.graph(filled[at : at + step]) for at in range(0, len(x), step)])[: len(x)]


def _first_apart(model: "ModelProto", signature: Signature, graph: fx.GraphModule, x: Tensor, tolerance: float) -> str:
    """The first ONNX node whose value differs, in words; nothing where that cannot be told."""
    x = x[: signature.batch or 1]
    recorder = _Recorder(graph)
    try:
        with torch.no_grad():
            recorder.run(x)
        theirs = _inside(model, signature, list(recorder.found), x.numpy())
    except Exception:  # whatever goes wrong here, the difference itself is told
        return ""
    for name, (ours, node) in recorder.found.items():
        other = torch.from_numpy(np.asarray(theirs[name], np.float32))
        same = ours.shape == other.shape
        if not same or float((ours - other).abs().max()) > tolerance * max(1.0, float(other.abs().max())):
            return f"; the first operator that differs is {node}"
    return ""


def _inside(model: "ModelProto", signature: Signature, names: list[str], images: Any) -> dict[str, Any]:
    from onnx import ModelProto, ValueInfoProto

    opened = ModelProto()
    opened.CopyFrom(model)
    del opened.graph.output[:]
    opened.graph.output.extend(ValueInfoProto(name=name) for name in names)
    session = Session(opened, signature, tuple(names))
    return dict(zip(names, session.run(images), strict=True))


class _Recorder(fx.Interpreter):
    """Keeps the values that carry an ONNX name."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.found: dict[str, tuple[Tensor, str]] = {}

    def run_node(self, n: fx.Node) -> Any:
        """One node's value."""
        value = super().run_node(n)
        if "onnx" in n.meta and isinstance(value, Tensor) and value.is_floating_point():
            name, node = n.meta["onnx"]
            self.found[name] = (value.float(), node)
        return value
