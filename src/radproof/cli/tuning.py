# SPDX-License-Identifier: Apache-2.0
"""The command tune."""

from pathlib import Path
from typing import Annotated

import typer

from radproof.cli.console import Bars, print_json, print_lines, print_table


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("tune", epilog="Search files are described in docs/howto/tune.md.")(tune)


def tune(
    search: Annotated[Path, typer.Argument(help="A search file in YAML: a plan, and lists of values to try.")],
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME-tuned by default.")] = None,
    eps: Annotated[str | None, typer.Option("--eps", help="Budget to choose at; by default the largest.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Throw away what the folder holds of another plan.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Data as JSON on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Search a defence's parameters on validation patients; show what is best clean and under adaptive attack.

    Interrupt it as you like: the same command goes on where it was.
    """
    from radproof import app
    from radproof.reports.tuning import tuning_rows

    with Bars(quiet=quiet) as bars:
        folder, found = app.tune(search, out, eps=eps, overwrite=overwrite, progress=bars)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    print_table(f"{found.images} validation images, {found.budget}", tuning_rows(found))
    print_lines([f"Front and table: {folder / 'tuning.md'}"])
