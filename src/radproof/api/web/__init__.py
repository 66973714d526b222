# SPDX-License-Identifier: Apache-2.0
"""The pages, one module each; every module has a `router`. A page calls what the resource beside it calls."""
