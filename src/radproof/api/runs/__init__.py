# SPDX-License-Identifier: Apache-2.0
"""Runs begun, watched, stopped, removed."""
