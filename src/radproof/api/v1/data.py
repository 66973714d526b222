# SPDX-License-Identifier: Apache-2.0
"""Data sets: upload, list, read, remove."""

from fastapi import APIRouter

router = APIRouter(tags=["data"])
