# SPDX-License-Identifier: Apache-2.0
"""Detectors that notice an attack in the image in hand. Importing the room makes its parts known to the registry."""

from radproof.detectors import (
    blocks,
    consistency,
    drift,
    ensemble,
    frequency,
    lid,
    mahalanobis,
    novelty,
    reconstruction,
)
from radproof.detectors.registry import detector

__all__ = [
    "blocks",
    "consistency",
    "detector",
    "drift",
    "ensemble",
    "frequency",
    "lid",
    "mahalanobis",
    "novelty",
    "reconstruction",
]
