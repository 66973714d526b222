# SPDX-License-Identifier: Apache-2.0
"""What a server tells of itself: its log, its figures, whether it can work."""
