# SPDX-License-Identifier: Apache-2.0
"""Attacks and corruptions, registered by name: importing this room makes all of them known."""

from radproof.attacks import aware, interop, queries, semantic, transfer, whitebox
from radproof.attacks.corruptions import block_transform, display, dose, placed, sharpness
from radproof.attacks.registry import Corruption, attack, corruption

__all__ = [
    "Corruption",
    "attack",
    "aware",
    "block_transform",
    "corruption",
    "display",
    "dose",
    "interop",
    "placed",
    "queries",
    "semantic",
    "sharpness",
    "transfer",
    "whitebox",
]
