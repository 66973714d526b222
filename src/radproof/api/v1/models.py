# SPDX-License-Identifier: Apache-2.0
"""Models: upload, list, read, remove; detectors taught for them."""

from fastapi import APIRouter

router = APIRouter(tags=["models"])
