# SPDX-License-Identifier: Apache-2.0
"""The resources, one module each; every module has a `router`."""
