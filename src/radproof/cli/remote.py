# SPDX-License-Identifier: Apache-2.0
"""The commands that talk to a server."""

import typer


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
