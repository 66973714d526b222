# SPDX-License-Identifier: Apache-2.0
"""Reader tests."""

from fastapi import APIRouter

router = APIRouter()
