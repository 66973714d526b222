# SPDX-License-Identifier: Apache-2.0
"""Signing in and out, invitations, OIDC."""

from fastapi import APIRouter

router = APIRouter()
