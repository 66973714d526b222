# SPDX-License-Identifier: Apache-2.0
"""The laboratory as a service: pages for people under /, resources for programs under /api/v1."""
