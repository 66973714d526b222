# SPDX-License-Identifier: Apache-2.0
"""Who I am, my projects and my API keys."""

from fastapi import APIRouter

router = APIRouter(tags=["account"])
