# SPDX-License-Identifier: Apache-2.0
"""Strangers' model files: each reader checks what it is given and returns an Imported network."""
