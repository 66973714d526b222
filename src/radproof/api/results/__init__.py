# SPDX-License-Identifier: Apache-2.0
"""What finished runs found, read from their folders: tables, pictures, comparisons, reports."""
