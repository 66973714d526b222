# SPDX-License-Identifier: Apache-2.0
"""A result."""

from fastapi import APIRouter

router = APIRouter()
