# SPDX-License-Identifier: Apache-2.0
"""People, projects, settings and the audit trail."""

from fastapi import APIRouter

router = APIRouter(tags=["admin"])
