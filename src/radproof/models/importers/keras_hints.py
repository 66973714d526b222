# SPDX-License-Identifier: Apache-2.0
"""What a checked Keras configuration tells of the images that its network takes."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

Format = Literal["channels_first", "channels_last"]

_BEFORE = ("InputLayer", "Identity", "Resizing", "CenterCrop", "Random")


def layers(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each layer in the file's order, those of networks within networks in their places."""
    for layer in config["config"].get("layers", ()):
        if "layers" in layer["config"]:
            yield from layers(layer)
        else:
            yield layer


def formats(config: Mapping[str, Any]) -> set[str]:
    """The data formats that its layers name: none, one, or a mixture."""
    return {form for layer in layers(config) if (form := layer["config"].get("data_format"))}


def hints_of(config: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(hints, notes): a Rescaling or division that stands first tells the range of pixels that the network takes."""
    hints: dict[str, Any] = {}
    notes: list[str] = []
    for layer in layers(config):
        kind, told = layer["class_name"], layer["config"]
        if kind in ("Rescaling", "TrueDivide", "Divide"):
            scale = told.get("scale") if kind == "Rescaling" else _inverse(layer)
            notes.append(f"begins by multiplying pixels by {_short(scale)}")
            if isinstance(scale, int | float) and 1 / 300 < scale < 1 / 100:
                hints |= {"takes": "0..255", "range": (0.0, 255.0)}
        elif kind == "Normalization":
            notes.append("normalises channels by itself")
        elif not kind.startswith(_BEFORE):
            break
    return hints, tuple(notes)


def _inverse(layer: Mapping[str, Any]) -> float | None:
    """One over the number that a division divides by."""
    try:
        by = layer["inbound_nodes"][0]["args"][1]
    except (LookupError, TypeError):
        return None
    return 1 / by if isinstance(by, int | float) and by else None


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "…"
