# SPDX-License-Identifier: Apache-2.0
"""Reader tests: whether people can tell an attacked image."""
