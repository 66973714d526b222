# SPDX-License-Identifier: Apache-2.0
"""What an ONNX file's metadata says of classes and normalisation: hints, never taken for certain."""

import ast
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from onnx import ModelProto

_LABELS = ("labels", "names", "classes", "class_names", "label_names", "id2label")
_MOST = 65536  # characters of one entry
_MOST_ENTRIES = 64


def hints_of(model: "ModelProto", opset: int) -> dict[str, Any]:
    """Producer, opset and metadata; labels, mean and std where an entry can be read as such."""
    entries = {_text(p.key): p.value[:_MOST] for p in model.metadata_props[:_MOST_ENTRIES]}
    found: dict[str, Any] = {"format": "onnx", "opset": opset}
    if model.producer_name:
        found["producer"] = _text(f"{model.producer_name} {model.producer_version}".strip())
    for key, value in entries.items():
        if key.lower() in _LABELS and (labels := _labels(value)):
            found["labels"] = labels
        if key.lower() in ("mean", "std") and (numbers := _numbers(value)):
            found[key.lower()] = numbers
    plain = {key: _text(value) for key, value in entries.items()}
    return {**found, "metadata": plain} if plain else found


def _labels(text: str) -> tuple[str, ...]:
    value = _read(text)
    if isinstance(value, Mapping):
        by_place = cast("Mapping[Any, Any]", value)
        if not all(str(key).isdecimal() for key in by_place):
            return ()
        value = [by_place[key] for key in sorted(by_place, key=lambda key: int(str(key)))]
    if value is None and "," in text:
        value = [part.strip() for part in text.split(",")]
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    names = cast("Sequence[Any]", value)[:1000]
    return tuple(_text(name)[:100] for name in names) if all(isinstance(name, str) for name in names) else ()


def _numbers(text: str) -> tuple[float, ...]:
    value = _read(text) if "," not in text or text.strip()[:1] in "[(" else _read(f"[{text}]")
    values = cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else [value]
    if len(values) > 4 or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        return ()
    return tuple(float(v) for v in values)


def _read(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
    return None


def _text(value: str) -> str:
    return "".join(c if c.isprintable() else " " for c in value[:500])
