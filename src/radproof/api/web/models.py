# SPDX-License-Identifier: Apache-2.0
"""Models."""

from fastapi import APIRouter

router = APIRouter()
