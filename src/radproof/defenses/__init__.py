# SPDX-License-Identifier: Apache-2.0
"""Defences that clean an image before the model sees it. Importing the room makes its parts known to the registry."""

from radproof.defenses import jpeg, jpeg_tvm, tvm
from radproof.defenses.registry import defense

__all__ = ["defense", "jpeg", "jpeg_tvm", "tvm"]
