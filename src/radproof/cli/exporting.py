# SPDX-License-Identifier: Apache-2.0
"""The command that writes adversarial images as DICOM: data export-dicom."""

from pathlib import Path
from typing import Annotated

import typer

from radproof.cli.console import Bars, print_json, print_lines
from radproof.errors import GateFailed


def export_dicom(
    images: Annotated[Path, typer.Argument(metavar="RUN_OR_MANIFEST", help="A run, or a manifest that one left.")],
    source: Annotated[Path, typer.Option(help="Folder whose DICOM files were imported.")],
    out: Annotated[Path, typer.Option(help="Folder for the DICOM files and their index, dicom.csv.")],
    burn: Annotated[bool, typer.Option("--burn", help="ADVERSARIAL TEST IMAGE into the pixels.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Data as JSON on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Write adversarial images as DICOM and measure each again; exits 1 where one is outside its budget."""
    from dataclasses import asdict

    from radproof.assess.exporting import export_dicom as export

    with Bars(quiet=quiet) as bars:
        found = export(images, source, out, burn=burn, progress=bars)
    outside = [line for line in found if not line.within]
    if as_json:
        print_json([asdict(line) for line in found])
    else:
        print_lines([f"{len(found)} images in {out}, {len(found) - len(outside)} within their budgets as read again"])
        changed = sum(line.differs > 0 for line in found)
        if changed:
            print_lines([f"{changed} do not show every pixel as it was scored; see dicom.csv"])
    if outside:
        raise GateFailed(f"{len(outside)} of {len(found)} written images are outside their budgets; see dicom.csv")
