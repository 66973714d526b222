# SPDX-License-Identifier: Apache-2.0
"""Training: a head on cached features first, then the last layers with it; resumable, and the same bytes each time."""
