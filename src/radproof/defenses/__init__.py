# SPDX-License-Identifier: Apache-2.0
"""Defences that clean an image before the model sees it. Importing the room makes its parts known to the registry."""

from radproof.defenses import (
    bit_depth,
    compose,
    jpeg,
    jpeg_tvm,
    median,
    nl_means,
    noise,
    random_resize_pad,
    style,
    tvm,
    tvm_masked,
    wavelet,
)
from radproof.defenses.registry import defense

__all__ = [
    "bit_depth",
    "compose",
    "defense",
    "jpeg",
    "jpeg_tvm",
    "median",
    "nl_means",
    "noise",
    "random_resize_pad",
    "style",
    "tvm",
    "tvm_masked",
    "wavelet",
]
