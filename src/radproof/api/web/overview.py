# SPDX-License-Identifier: Apache-2.0
"""The start page: models with their scores."""

from fastapi import APIRouter

router = APIRouter()
