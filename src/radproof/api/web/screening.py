# SPDX-License-Identifier: Apache-2.0
"""Screening."""

from fastapi import APIRouter

router = APIRouter()
