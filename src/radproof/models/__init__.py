# SPDX-License-Identifier: Apache-2.0
"""Classifiers that take pixels in [0, 1] and own everything after them: build, save, load, check, explain."""
