# SPDX-License-Identifier: Apache-2.0
"""Plans, presets and what they would cost."""

from fastapi import APIRouter

router = APIRouter(tags=["plans"])
