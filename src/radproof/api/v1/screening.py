# SPDX-License-Identifier: Apache-2.0
"""Screening of one image."""

from fastapi import APIRouter

router = APIRouter(tags=["screening"])
