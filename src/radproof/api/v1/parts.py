# SPDX-License-Identifier: Apache-2.0
"""What plans are made of."""

from fastapi import APIRouter

router = APIRouter(tags=["parts"])
