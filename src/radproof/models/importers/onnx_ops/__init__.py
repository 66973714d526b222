# SPDX-License-Identifier: Apache-2.0
"""What each ONNX operator is in torch, by families; `operators()` knows them all."""

from importlib import import_module

from radproof.models.importers.onnx_ops.table import OPERATORS, Handler

_FAMILIES = (
    "activations",
    "arithmetic",
    "convolution",
    "joining",
    "linear",
    "normalisation",
    "padding",
    "pooling",
    "quantised",
    "quantised_layers",
    "reductions",
    "resizing",
    "shapes",
    "slicing",
)


def operators() -> dict[tuple[str, str], Handler]:
    """(domain, operator) -> the function that converts it."""
    for family in _FAMILIES:
        import_module(f"{__name__}.{family}")
    return OPERATORS
