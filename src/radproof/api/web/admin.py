# SPDX-License-Identifier: Apache-2.0
"""Administration."""

from fastapi import APIRouter

router = APIRouter()
