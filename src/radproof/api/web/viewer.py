# SPDX-License-Identifier: Apache-2.0
"""The images of a run."""

from fastapi import APIRouter

router = APIRouter()
