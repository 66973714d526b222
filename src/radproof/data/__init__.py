# SPDX-License-Identifier: Apache-2.0
"""Images, whose they are, and what they show."""
