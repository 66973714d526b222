# SPDX-License-Identifier: Apache-2.0
"""What spoils an image without an adversary: visible, seeded, and blind to every model."""
