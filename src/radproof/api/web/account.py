# SPDX-License-Identifier: Apache-2.0
"""My account."""

from fastapi import APIRouter

router = APIRouter()
