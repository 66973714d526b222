# SPDX-License-Identifier: Apache-2.0
"""Generated: the catalogue of parts and the schemas of plan and result (`make golden`)."""
