# SPDX-License-Identifier: Apache-2.0
"""The server as a process: put together, listening, with a worker beside it and an example in it."""
