# SPDX-License-Identifier: Apache-2.0
"""One image judged at once, by models kept open in guarded processes."""
