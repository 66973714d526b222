# SPDX-License-Identifier: Apache-2.0
"""What people read: one self-contained page and the same as a PDF, drawn from a finished run's folder alone."""
