# SPDX-License-Identifier: Apache-2.0
"""data get: public data sets from their makers."""

from pathlib import Path
from typing import Annotated

import typer

from radproof.cli.console import Bars, print_lines
from radproof.errors import BadPlan


def get(
    name: Annotated[str, typer.Argument(help="nih, or a MedMNIST set (pneumoniamnist, breastmnist, ...).")],
    out: Annotated[Path, typer.Option(help="Folder for the files; what is there already is not fetched again.")],
    only: Annotated[str | None, typer.Option(help="NIH: these archives, such as 1,2.")] = None,
    size: Annotated[int, typer.Option(help="MedMNIST: 28, 64, 128 or 224 pixels per side.")] = 28,
    base: Annotated[str | None, typer.Option(help="A mirror that has the files under their own names.")] = None,
    checksums: Annotated[
        Path | None, typer.Option(help="Lines of sha256sum or md5sum, in place of the published sums.")
    ] = None,
    tidy: Annotated[bool, typer.Option(help="Remove archives when they are unpacked.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Fetch a public data set; an interrupted download goes on where it was."""
    from radproof.data.download import get as fetch

    with Bars(quiet=quiet) as bars:
        found = fetch(
            name, out, only=_numbers(only), size=size, base=base, checksums=checksums, tidy=tidy, progress=bars
        )
    print_lines([str(path) for path in found])


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise BadPlan(f"--only takes numbers of archives with commas, such as 1,2; got {text[:40]!r}")
    return [int(part) for part in parts]
