# SPDX-License-Identifier: Apache-2.0
"""The commands around an assessment: assess, attack, defend, detect, report, parts."""

from pathlib import Path
from typing import Annotated, Any

import typer

from radproof.cli.console import Bars, print_json, print_lines, print_table
from radproof.cli.gating import insist, print_gates
from radproof.cli.parts import listed, parts, told
from radproof.cli.plan_options import (
    Architecture,
    Attacks,
    BlackBox,
    Budgets,
    Card,
    Data,
    Device,
    Endpoint,
    Goals,
    Images,
    Labels,
    Model,
    Preset,
    Protocol,
    Seed,
    Size,
    detectors_of,
    names_in,
    network_of,
    plan_of,
)
from radproof.cli.remote import AllowHttp, Project, assess_on
from radproof.errors import BadInput

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
AsJson = Annotated[bool, typer.Option("--json", help="Data as JSON on stdout.")]
Overwrite = Annotated[bool, typer.Option(help="Throw away what the folder holds of another plan.")]
Pdf = Annotated[bool, typer.Option(help="Also write report.pdf (needs the extra radproof[pdf]).")]
RemoteServer = Annotated[
    str | None,
    typer.Option("--server", help="Let this server do the plan; the key is RADPROOF_KEY. Without it, here."),
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("assess", epilog="Plans are described in docs/howto/plans.md; examples lie in examples/plans.")(assess)
    app.command(
        "attack",
        help="Make adversarial images and a manifest of them.\n\n\b\nAttacks, with the bill per image at the presets "
        f"quick and published; `radproof parts NAME` explains one:\n{told('attack')}",
    )(attack)
    app.command("defend", help=f"Clean the images of a manifest.\n\n\b\nDefences:\n{listed('defense')}")(defend)
    app.command("detect", help=f"Judge images one by one.\n\n\b\nDetectors:\n{listed('detector')}")(detect)
    app.command("report")(report)
    app.command("parts")(parts)


def assess(
    plan: Annotated[Path | None, typer.Argument(help="A plan in YAML; or leave it out and use the options.")] = None,
    model: Model = None,
    data: Data = None,
    labels: Labels = None,
    card: Card = None,
    architecture: Architecture = None,
    black_box: BlackBox = False,
    endpoint: Endpoint = None,
    protocol: Protocol = None,
    attacks: Attacks = None,
    eps: Budgets = None,
    defenses: Annotated[str | None, typer.Option(help="Defences, with commas: jpeg_tvm.")] = None,
    detectors: Annotated[str | None, typer.Option(help="Detectors, with commas: consistency,frequency.")] = None,
    goals: Goals = None,
    preset: Preset = None,
    images: Images = None,
    size: Size = None,
    seed: Seed = None,
    device: Device = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME by default.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Score an earlier run's images/ instead of attacking.")] = None,
    overwrite: Overwrite = False,
    pdf: Pdf = False,
    server: RemoteServer = None,
    project: Project = None,
    allow_http: AllowHttp = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Crash-test a model: attack it, defend it, detect, measure, report.

    Interrupt it as you like: the same command goes on where it was.
    """
    options = {
        "model": model, "data": data, "attacks": attacks, "eps": eps, "defenses": defenses, "detectors": detectors,
        "goals": goals, "preset": preset, "images": images, "size": size, "seed": seed, "device": device,
        "labels": labels, "card": card, "architecture": architecture, "black-box": black_box or None,
        "endpoint": endpoint, "protocol": protocol,
    }  # fmt: skip
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if server is not None:
        if given or replay is not None:
            told = ", ".join([*given, *(["--replay"] if replay is not None else [])])
            raise BadInput(f"a server is given a plan alone: put {told} into the plan, or leave --server out")
        assess_on(
            server, plan, out, project=project, allow_http=allow_http, overwrite=overwrite, pdf=pdf, as_json=as_json,
            quiet=quiet,
        )  # fmt: skip
        return
    if allow_http:
        raise BadInput("--allow-http goes with --server")
    if plan is not None and given:
        raise BadInput(f"give either a plan or {', '.join(given)}, not both; put them into the plan")
    from radproof.assess.plan_file import read_yaml

    raw = None if plan is None else read_yaml(plan, "plan")
    from radproof.assess.plan import make_plan

    if plan is not None and raw is not None:
        chosen = make_plan(raw, base=plan.parent)
    else:
        network = network_of(model, card, architecture, black_box, endpoint, protocol)
        chosen = make_plan(
            plan_of(network, data, labels, attacks, eps, goals, preset, images, size, seed, device)
            | {"defenses": names_in(defenses or "jpeg_tvm")}
            | detectors_of(detectors, network),
            base=Path.cwd(),
        )
    folder = out or Path("runs") / chosen.name
    from radproof import app
    from radproof.reports.html import summary_rows

    with Bars(quiet=quiet) as bars:
        result = app.assess(chosen, folder, overwrite=overwrite, replay=replay, pdf=pdf, plan_file=plan, progress=bars)
    if as_json:
        print_json(result.model_dump(mode="json"))
        insist(result.gates)
        return
    print_table(f"{result.title}: {result.images} images of {result.patients} patients", summary_rows(result))
    print_lines([result.verdict, *(f"Doubt: {doubt.message}" for doubt in result.doubts)])
    print_lines([f"Report: {folder / 'report.html'}"])
    print_gates(result.gates)
    insist(result.gates)


def attack(
    model: Model = None,
    data: Data = None,
    labels: Labels = None,
    card: Card = None,
    architecture: Architecture = None,
    attacks: Attacks = None,
    eps: Budgets = None,
    goals: Goals = None,
    preset: Preset = None,
    images: Images = None,
    size: Size = None,
    seed: Seed = None,
    device: Device = None,
    out: Annotated[Path, typer.Option(help="Folder for images/ and their manifest.")] = Path("runs/attack"),
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make adversarial images."""
    from radproof import app
    from radproof.assess.plan import make_plan

    network = network_of(model, card, architecture)
    plan = make_plan(
        plan_of(network, data, labels, attacks, eps, goals, preset, images, size, seed, device), base=Path.cwd()
    )
    with Bars(quiet=quiet) as bars:
        made = app.attack(plan, out, overwrite=overwrite, progress=bars)
    _done(f"{len(made)} images in {out / 'images'}", {"images": len(made), "manifest": str(out / "images")}, as_json)


def defend(
    data: Annotated[Path, typer.Option(help="A manifest of images.")],
    defenses: Annotated[str, typer.Option(help="Defences in order, with commas.")] = "jpeg_tvm",
    out: Annotated[Path, typer.Option(help="Folder for the cleaned images.")] = Path("runs/defend"),
    seed: Seed = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Clean images."""
    from radproof import app

    with Bars(quiet=quiet) as bars:
        made = app.defend(data, names_in(defenses), out, seed=seed or 0, progress=bars)
    _done(f"{len(made)} images in {out}", {"images": len(made), "manifest": str(out)}, as_json)


def detect(
    model: Annotated[Path, typer.Option(help="The model's folder, or its file with a card beside it.")],
    data: Annotated[Path, typer.Option(help="Clean images: training and validation folds set the threshold.")],
    images: Annotated[Path, typer.Option(help="A manifest of the images to judge.")],
    detectors: Annotated[str, typer.Option(help="Detectors, with commas.")] = "drift",
    rate: Annotated[float, typer.Option(help="Share of clean images that may be flagged.")] = 0.05,
    split: Annotated[str, typer.Option(help="patient | release, as in training, where the data has none.")] = "patient",
    seed: Annotated[int, typer.Option(help="Seed of that split, as in training.")] = 0,
    other_data: Annotated[
        bool, typer.Option("--other-data", help="The data are of another source: the model has seen none of them.")
    ] = False,
    device: Device = None,
    out: Annotated[Path, typer.Option(help="Folder for the manifest with scores.")] = Path("runs/detect"),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Judge images."""
    from radproof import app

    with Bars(quiet=quiet) as bars:
        _, flags = app.detect(
            model,
            data,
            images,
            names_in(detectors),
            out,
            false_positive_rate=rate,
            split=split,
            seed=seed,
            other_data=other_data,
            device=device or "auto",
            progress=bars,
        )
    if as_json:
        print_json([vars(flag) for flag in flags])
        return
    for name in dict.fromkeys(flag.detector for flag in flags):
        own = [flag for flag in flags if flag.detector == name]
        print_lines([f"{name}: {sum(bool(flag.flagged) for flag in own)} of {len(own)} images flagged"])


def report(
    run: Annotated[Path, typer.Argument(help="A finished run's folder.")],
    pdf: Pdf = False,
) -> None:
    """Draw the report of a finished run anew."""
    from radproof import app

    print_lines([str(app.report(run, pdf=pdf))])


def _done(line: str, facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(facts)
    else:
        print_lines([line])
