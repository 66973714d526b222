# SPDX-License-Identifier: Apache-2.0
"""ONNX files as networks with gradients: checked, rebuilt from torch's own calls, and proved against onnxruntime.

Whatever exported the file, softmax and sigmoid at the end are taken off and channels come first. A file that says it
takes one image at a time is widened to any number if that gives the same answers.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.fx import GraphModule

from radproof.errors import BadModel
from radproof.models.graph import take_off
from radproof.models.imported import Imported
from radproof.models.importers.onnx_checks import load_checked, opset_of
from radproof.models.importers.onnx_end import End, before, end_of
from radproof.models.importers.onnx_graph import build
from radproof.models.importers.onnx_hints import hints_of
from radproof.models.importers.onnx_parity import compare, is_half, probes
from radproof.models.importers.onnx_quantised import QUANTISED, agreement, is_quantised
from radproof.models.importers.onnx_session import Exact, Session
from radproof.models.importers.onnx_signature import Signature, signature_of
from radproof.models.importers.onnx_values import Unconvertible

if TYPE_CHECKING:
    from onnx import ModelProto

Ask = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]
_SIDES = (224, 256, 299, 384, 512, 128, 64, 32)  # tried for files that tell no size and do not take any


@dataclass(frozen=True)
class _Built:
    graph: GraphModule
    size: tuple[int, int] | None
    batch: int | None
    note: str = ""


def read_onnx(path: Path) -> Imported:
    """The network of an ONNX file, proved to answer as the file does.

    Raises BadModel for a file that is not a whole network by itself, for an operator without conversion (the message
    names it), and where the conversion answers differently; BadInput where the onnx packages are missing.
    """
    model = load_checked(path)
    signature = signature_of(model, path.name)
    try:
        return _imported(model, signature)
    except BadModel as error:  # one class for callers in other processes
        raise BadModel(f"{path.name}: {error}") from None


def read_onnx_black_box(path: Path) -> Ask:
    """The file as a function: (N, C, H, W) float32, normalised -> (N, K), by onnxruntime alone. Raises as read_onnx.

    What cannot be converted is allowed here; what would take memory beyond all measure is not.
    """
    model = load_checked(path)
    signature = signature_of(model, path.name)
    try:
        _built(*before(model, signature, end_of(model, signature)))
    except Unconvertible:
        pass
    except BadModel as error:
        raise BadModel(f"{path.name}: {error}") from None
    return Session(model, signature).ask


def _imported(model: "ModelProto", signature: Signature) -> Imported:
    end = end_of(model, signature) if is_quantised(model) else End()
    inner = before(model, signature, end)
    if signature.batch is None:
        return _proved(model, signature, end, _built(*inner))
    try:
        return _proved(model, signature, end, _built(*inner, one_image=True))
    except BadModel:  # its layers do hold it to a number of images
        return _proved(model, signature, end, _built(*inner))


def _built(model: "ModelProto", signature: Signature, *, one_image: bool = False) -> _Built:
    """The file's graph, for any size of images if it tells none and its layers take any.

    one_image: for any number of images though it tells one.
    """
    batch = None if one_image else signature.batch
    counts = (batch,) if batch else (3, 5)
    note = f"the file takes {signature.batch} at a time; here it takes any number, with the same answers"
    note = note if one_image else ""
    if signature.size is not None:
        shapes = [signature.shaped(count, *signature.size) for count in counts]
        return _Built(build(model, signature, shapes, one_image=one_image), signature.size, batch, note)
    try:
        shapes = [signature.shaped(counts[0], 224, 288), signature.shaped(counts[-1], 256, 320)]
        return _Built(build(model, signature, shapes, one_image=one_image), None, batch, note)
    except BadModel as error:
        for side in _SIDES:
            shapes = [signature.shaped(count, side, side) for count in counts]
            try:
                graph = build(model, signature, shapes, one_image=one_image)
            except BadModel:
                continue
            return _Built(graph, (side, side), batch, f"the file tells no image size; {side}x{side} fits its layers")
        raise error


def _proved(model: "ModelProto", signature: Signature, end: End, built: _Built) -> Imported:
    # Several different images are compared at once, so that one image's answer cannot depend on another's.
    images = probes(replace(signature, batch=built.batch), built.size or (96, 128))
    graph, head, note, exact = built.graph, end.head, "", None
    if is_quantised(model):  # nothing else is taken off: graph and original must end alike
        exact = Exact(Session(*before(model, signature, end)), end.most)
        note = f"the {end.head} at the end was taken off, and what follows it: attacks climb logits" if head else ""
    else:
        graph, head, note = take_off(graph)
    with torch.no_grad():
        stand_in = torch.cat([graph(batch) for batch in images])
    found = Imported(
        graph,
        signature.channels,
        built.size,
        stand_in.shape[1],
        built.batch,
        head,
        exact,
        hints_of(model, opset_of(model)),
    )
    notes = [built.note, note or ""]
    if signature.others:
        notes.append(f"of the file's outputs only {signature.output[:80]!r} is read")
    if is_half(model, signature):
        notes.append("the file computes in half precision; here it is computed in single precision")
    compare(model, signature, found, images)
    if exact is not None:
        original = torch.cat([exact(batch) for batch in images])
        near = agreement(original, stand_in, one_each=head == "sigmoid")
        notes.append(f"{QUANTISED}; {near.told('made images', judged=False)}")
    return replace(found, notes=tuple(text for text in notes if text))
