# SPDX-License-Identifier: Apache-2.0
"""What stands around every request: its body, its limits, its headers, how answers and errors look."""
