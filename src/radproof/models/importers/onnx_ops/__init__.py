# SPDX-License-Identifier: Apache-2.0
"""What each ONNX operator is in torch, by families; `operators()` knows them all."""

from radproof.models.importers.onnx_ops.table import OPERATORS, Handler


def operators() -> dict[tuple[str, str], Handler]:
    """(domain, operator) -> the function that converts it."""
    from radproof.models.importers.onnx_ops import (  # noqa: F401 (each adds its own)
        activations,
        arithmetic,
        convolution,
        joining,
        linear,
        normalisation,
        padding,
        pooling,
        quantised,
        quantised_layers,
        reductions,
        resizing,
        shapes,
        slicing,
    )

    return OPERATORS
