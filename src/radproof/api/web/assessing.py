# SPDX-License-Identifier: Apache-2.0
"""A new assessment."""

from fastapi import APIRouter

router = APIRouter()
