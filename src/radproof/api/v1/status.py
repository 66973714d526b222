# SPDX-License-Identifier: Apache-2.0
"""The version, and how the server is."""

from fastapi import APIRouter

router = APIRouter(tags=["status"])
