# SPDX-License-Identifier: Apache-2.0
"""Who asks, what they may see, and how they come in."""
