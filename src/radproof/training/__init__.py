# SPDX-License-Identifier: Apache-2.0
"""How a classifier is made."""
