# SPDX-License-Identifier: Apache-2.0
"""Runs, and one that is at work."""

from fastapi import APIRouter

router = APIRouter()
