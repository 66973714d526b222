# SPDX-License-Identifier: Apache-2.0
"""radproof: the crash-test laboratory for medical-imaging CNNs."""

__version__ = "0.1.0"
