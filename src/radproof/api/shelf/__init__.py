# SPDX-License-Identifier: Apache-2.0
"""Models, data sets and guards of a project."""
