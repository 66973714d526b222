# SPDX-License-Identifier: Apache-2.0
"""Data sets."""

from fastapi import APIRouter

router = APIRouter()
