# SPDX-License-Identifier: Apache-2.0
"""Plans before they run: composed, checked, estimated."""
