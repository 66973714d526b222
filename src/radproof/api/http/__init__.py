# SPDX-License-Identifier: Apache-2.0
"""The protocol's own matters, which know nobody: bodies, headers, tags, pages of lists, how answers and errors look."""
