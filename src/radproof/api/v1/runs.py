# SPDX-License-Identifier: Apache-2.0
"""Runs: start, watch, cancel, pause, resume; results and reports."""

from fastapi import APIRouter

router = APIRouter(tags=["runs"])
