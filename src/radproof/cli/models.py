# SPDX-License-Identifier: Apache-2.0
"""The commands around model files: model check, model convert."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from radproof.cli.console import Bars, print_json, print_lines, print_table
from radproof.errors import BadInput, GateFailed

app = typer.Typer(help="Check and convert model files.", no_args_is_help=True, rich_markup_mode=None)

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
    beside = model.with_name(f"{model.stem}.card.yaml")
    if write and model.is_file() and not beside.exists():
        beside.write_text((found.likely or _line(found.card)) + "\n", encoding="utf-8")
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        print_table(
            f"Conventions, on {found.tried[0].images if found.tried else 0} labelled images",
            [{"convention": t.convention, "right": f"{100 * t.accuracy:.0f} %", "log-likelihood": t.log_likelihood}
             for t in found.tried],
        )  # fmt: skip
        seen = advice(model) if model.is_file() else ()
        print_lines([*(f"Problem: {one}" for one in found.problems), *(f"Advice: {one}" for one in seen)])
        print_lines([f"Card: {found.likely or _line(found.card)}", f"Guard: {', '.join(found.guard) or 'not needed'}"])
    if found.problems:
        raise GateFailed(f"{len(found.problems)} problems with {model.name}; see above")


@app.command("convert")
def convert(
    file: Annotated[Path, typer.Argument(help="A file that radproof does not open because it runs code.")],
    out: Annotated[Path, typer.Option(help="Folder for what comes out.")],
    trust: Annotated[bool, typer.Option("--i-trust-this-file", help="Its maker is known: run it.")] = False,
    shape: Annotated[str, typer.Option(help="Of one image as the network takes it.")] = "3,224,224",
    quiet: Quiet = False,
) -> None:
    """Turn a pickle, TorchScript, ONNX with external data, or Keras with code into a file that holds none.

    What the file holds is run, in a guarded process: do this with files of your own.
    """
    from radproof import app as use
    from radproof.models.advice import advice

    if not file.is_file():
        raise BadInput(f"there is no file {file}")
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
        print_lines([str(use.convert(file, out, shape=sides, progress=bars))])


def _text(path: Path | None) -> str | None:
    return str(path.resolve()) if path else None


def _line(card: dict[str, object]) -> str:
    import yaml

    kept = {key: value for key, value in card.items() if key not in ("imported", "weights_sha256", "notes", "file")}
    return yaml.safe_dump(kept, default_flow_style=True, sort_keys=False, width=10**6).strip()
