# SPDX-License-Identifier: Apache-2.0
"""The commands of a model in use: guard teaches a detector, screen judges images one by one."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from radproof.cli.console import Bars, print_json, print_lines, print_table
from radproof.errors import BadInput

if TYPE_CHECKING:
    from radproof.assess.screening import Screened

AsJson = Annotated[bool, typer.Option("--json", help="Data as JSON on stdout.")]
Lines = Annotated[bool, typer.Option("--json", help="One JSON object per image and line on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Device = Annotated[str, typer.Option(help="auto | cpu | cuda | mps.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("guard")(guard)
    app.command("screen", epilog="How to read a verdict is told in docs/howto/screen.md.")(screen)


def guard(
    model: Annotated[Path, typer.Option(help="The model's folder, or its file with a card beside it.")],
    data: Annotated[Path, typer.Option(help="Clean images: NIH release, folder per class, or manifest.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("guard.safetensors"),
    detector: Annotated[str, typer.Option(help="What tells attacked images from clean ones.")] = "drift",
    rate: Annotated[
        float, typer.Option(help="Share of clean images that may get any alarm; detectors share it.")
    ] = 0.05,
    by: Annotated[str, typer.Option(help="A threshold for each: class | view; left out, one for all.")] = "",
    split: Annotated[str, typer.Option(help="patient | release, as in training, where the data has none.")] = "patient",
    seed: Annotated[int, typer.Option(help="Seed of that split, as in training.")] = 0,
    other_data: Annotated[
        bool, typer.Option("--other-data", help="The data are of another source: the model has seen none of them.")
    ] = False,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Teach a detector what a model's clean images look like, and set its thresholds to a promised false-alarm rate.

    It learns from training patients; thresholds are set on validation patients, for clean images and for harmless
    changes of them. Those must be patients that the model has not learnt from: its own validation patients, or others.
    """
    from radproof import app
    from radproof.reports.promises import basis, covered, origin, refusals, shared, threshold_rows

    with Bars(quiet=quiet) as bars:
        made = app.guard(
            model,
            data,
            out,
            name=detector,
            rate=rate,
            by=by,
            split=split,
            seed=seed,
            other_data=other_data,
            device=device,
            progress=bars,
        )
    if as_json:
        print_json(made.model_dump(mode="json"))
        return
    print_table(f"Thresholds, set on {basis(made.about)}", threshold_rows(made))
    told = [*refusals(made), shared(made), covered(made.suspicion.thresholds), origin(made.about)]
    print_lines([*told, f"For {made.about.grid}.", f"Guard: {out}"])


def screen(
    images: Annotated[list[Path], typer.Argument(help="Image files (PNG, JPEG, TIFF, DICOM), and folders of them.")],
    model: Annotated[Path, typer.Option(help="The model's folder, or its file with a card beside it.")],
    detector: Annotated[Path, typer.Option(help="What `radproof guard` wrote.")] = Path("guard.safetensors"),
    out: Annotated[Path | None, typer.Option(help="Also write a page per image into this folder.")] = None,
    view: Annotated[str | None, typer.Option(help="The images' view, where thresholds are by view.")] = None,
    device: Device = "auto",
    as_json: Lines = False,
    quiet: Quiet = False,
) -> None:
    """Ask a model about images, and a detector whether its answers may be believed: one line per image.

    Exit code 2 where a file could not be read or judged; the others are answered all the same.
    """
    from radproof import app

    stdout = sys.stdout  # a progress bar takes its place
    refused = total = 0
    with Bars(quiet=quiet or stdout.isatty()) as bars:
        for said in app.screen(images, model, detector, out=out, view=view, device=device, progress=bars):
            total += 1
            refused += said.screening is None
            _write(stdout, json.dumps(said.model_dump(mode="json"), allow_nan=False) if as_json else line(said))
    if refused:
        raise BadInput(f"{refused} of {total} files could not be screened; the other {total - refused} were")


def line(said: "Screened") -> str:
    """What is said of one image, in one line."""
    from radproof.reports.words import plain

    name = "".join(letter if letter.isprintable() else "�" for letter in said.name)
    found = said.screening
    if found is None:
        return f"{name}  refused: {said.refusal}"
    mine, limit = found.suspicion, found.suspicion.threshold.value
    answer = " + ".join(found.prediction) or "no finding"
    score = f"suspicion {plain(mine.score)} of {'no threshold' if limit is None else plain(limit)}"
    why = "".join(f" {reason}" for reason in found.reasons)
    return f"{name}  {answer} {100 * found.confidence:.0f} %  {score}  {found.verdict}{why and ':'}{why}"


def _write(stream: TextIO, text: str) -> None:
    stream.write(f"{text}\n")
    stream.flush()
