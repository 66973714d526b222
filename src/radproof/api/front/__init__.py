# SPDX-License-Identifier: Apache-2.0
"""What a request passes before its route: who asks, whether our page sent it, limits, files, its key."""
