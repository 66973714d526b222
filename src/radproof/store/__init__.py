# SPDX-License-Identifier: Apache-2.0
"""What the laboratory keeps as a service: settings, the database, files by their hash, and the audit trail."""
