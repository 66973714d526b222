# SPDX-License-Identifier: Apache-2.0
"""The commands around model files: model check, convert, import, describe."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radproof.cli.console import Bars, print_json, print_lines, print_table
from radproof.errors import BadInput, GateFailed

if TYPE_CHECKING:
    from radproof.assess.describing import Described
    from radproof.assess.inspecting import Inspection

app = typer.Typer(help="Check, convert, import and describe model files.", no_args_is_help=True, rich_markup_mode=None)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
AsJson = Annotated[bool, typer.Option("--json", help="Data as JSON on stdout.")]


@app.command("check")
def check(
    model: Annotated[Path, typer.Argument(help="A model's folder or file.")],
    data: Annotated[Path, typer.Option(help="Labelled images, as for assess.")],
    labels: Annotated[Path | None, typer.Option(help="Table (CSV) of what each image of --data shows.")] = None,
    card: Annotated[Path | None, typer.Option(help="The file's card, where none lies beside it.")] = None,
    architecture: Annotated[
        str | None, typer.Option(help="Network of a file of weights alone: a timm name, or torchvision:NAME.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Leave the likely card beside the file.")] = False,
    device: Annotated[str, typer.Option(help="auto | cpu | cuda | mps.")] = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Try a model before anything attacks it: answers, gradients, and the usual conventions; exits 1 on problems.

    Strangers' files are opened in a guarded process.
    """
    from radproof import app as use
    from radproof.assess.sections import ModelPlan
    from radproof.models.advice import advice

    told = ModelPlan(path=str(model.resolve()), card=_text(card), architecture=architecture)
    with Bars(quiet=quiet) as bars, tempfile.TemporaryDirectory() as cache:
        found = use.check_model(told, data, Path(cache), device=device, progress=bars, labels=_text(labels))
    line = found.likely or found.line
    written = _save(model, line) if write else ""
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        seen = advice(model) if model.is_file() else ()
        _show(found, [*(f"Advice: {one}" for one in seen), f"Card: {line}", *([written] if written else [])])
    if found.problems:
        raise GateFailed(f"{_count(len(found.problems))} with {model.name}: {'; '.join(found.problems)}")


def _show(found: "Inspection", lines: list[str]) -> None:
    from radproof.assess.evidence import show

    if found.tried:
        print_table(
            f"Conventions, on {found.tried[0].images} labelled images",
            [{"convention": t.convention, "right": f"{100 * t.accuracy:.0f} %", "log-likelihood": t.log_likelihood}
             for t in found.tried],
        )  # fmt: skip
    print_lines([f"Accuracy: {show(found.accuracy)} of {found.accuracy.n} labelled images"])
    print_lines([*(f"Problem: {one}" for one in found.problems), *lines])
    print_lines([f"Guard: {', '.join(found.guard) or 'not needed'}"])


def _save(model: Path, line: str) -> str:
    """The card beside the file, where none is."""
    from radproof.core.files import write_text
    from radproof.models.card import read_card_file
    from radproof.models.conventions import card_line

    if not model.is_file():
        return f"Not written: {model.name} is a folder, whose own card.yaml counts"
    beside = model.with_name(f"{model.stem}.card.yaml")
    if beside.exists():
        return f"Not written: {beside.name} is there already"
    with tempfile.TemporaryDirectory() as folder:  # the line was said by a guarded process: only a card is written
        (said := Path(folder) / beside.name).write_text(line + "\n", encoding="utf-8")
        card = read_card_file(said)
    write_text(beside, card_line(card) + "\n")
    return f"Written: {beside}"


def _count(problems: int) -> str:
    return "one problem" if problems == 1 else f"{problems} problems"


@app.command("convert")
def convert(
    file: Annotated[Path, typer.Argument(help="A file that radproof does not open because it runs code.")],
    out: Annotated[Path, typer.Option(help="Folder for what comes out.")],
    trust: Annotated[bool, typer.Option("--i-trust-this-file", help="Its maker is known: run it.")] = False,
    shape: Annotated[str, typer.Option(help="Of one image as the network takes it.")] = "3,224,224",
    code: Annotated[Path | None, typer.Option(help="Folder of the Python modules that the file names.")] = None,
    quiet: Quiet = False,
) -> None:
    """Turn a pickle, TorchScript, ONNX with external data, or Keras with code into a file that holds none.

    What the file holds is run, in a guarded process: do this with files of your own.
    """
    from radproof import app as use
    from radproof.models.advice import advice

    if not file.is_file():
        raise BadInput(f"there is no file {file}")
    if code is not None and not code.is_dir():
        raise BadInput(f"there is no folder {code}; --code is one of Python modules")
    if not trust:
        seen = "".join(f"; {one}" for one in advice(file))
        raise BadInput(f"converting runs what {file.name} holds{seen}; if you trust it, add --i-trust-this-file")
    try:
        sides = tuple(int(side) for side in shape.split(","))
    except ValueError:
        sides = ()
    if len(sides) != 3 or min(sides) < 1:
        raise BadInput(f"--shape is three whole numbers, such as 3,224,224; got {shape!r}")
    with Bars(quiet=quiet) as bars:
        print_lines([str(use.convert(file, out, shape=sides, code=code, progress=bars))])


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A model file, or a zip of radproof's own folder.")],
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
    card: Annotated[Path | None, typer.Option(help="The file's card.")] = None,
    architecture: Annotated[
        str | None, typer.Option(help="Network of a file of weights alone: a timm name, or torchvision:NAME.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto | cpu | cuda | mps.")] = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Keep a model file in a folder of its own, once it was opened in a guarded process; nothing of others is kept."""
    from radproof import app as use

    if not file.is_file():
        raise BadInput(f"there is no file {file}")
    with Bars(quiet=quiet) as bars:
        found = use.take_model(file, out, card=card, architecture=architecture, device=device, progress=bars)
    _show_described(found, as_json=as_json)


@app.command("describe")
def describe(
    model: Annotated[Path, typer.Argument(help="A model's folder or file.")],
    architecture: Annotated[
        str | None, typer.Option(help="Network of a file of weights alone: a timm name, or torchvision:NAME.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Labelled images to try it on.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Leave the likely card beside a file without one.")] = False,
    device: Annotated[str, typer.Option(help="auto | cpu | cuda | mps.")] = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say what a model is: card, parameters, input, white-box or black-box, seconds per image; opened in a guard."""
    from radproof import app as use

    with Bars(quiet=quiet) as bars, tempfile.TemporaryDirectory() as cache:
        found = use.describe(
            model,
            architecture=architecture,
            data=data,
            write=write,
            cache=Path(cache),
            device=device,
            progress=bars,
        )
    _show_described(found, as_json=as_json)


def _show_described(found: "Described", *, as_json: bool) -> None:
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    channels, height, width = found.input
    slow = "" if found.seconds.gradient is None else f", {found.seconds.gradient:.3g} with gradient"
    print_lines(
        [
            f"{found.architecture} ({found.format}), {found.parameters:,} parameters, {found.classes} classes",
            f"Takes: {channels} × {height} × {width}; {found.access}",
            f"Seconds per image: {found.seconds.forward:.3g}{slow}",
            f"Card: {found.line or 'none; labelled images can tell: --data IMAGES --write'}",
            f"Guard: {', '.join(found.guard) or 'not needed'}",
        ]
    )


def _text(path: Path | None) -> str | None:
    return str(path.resolve()) if path else None
