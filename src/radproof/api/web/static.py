# SPDX-License-Identifier: Apache-2.0
"""Scripts and styles."""

from fastapi import APIRouter

router = APIRouter()
