# SPDX-License-Identifier: Apache-2.0
"""Durable work: queued, done by workers as command lines of their own, cancelled, paused, taken up after a kill."""
