# SPDX-License-Identifier: Apache-2.0
"""The commands around an assessment: assess, attack, defend, detect, report."""

from pathlib import Path
from typing import Annotated, Any

import typer

from radproof.cli.console import Bars, print_json, print_lines, print_table
from radproof.cli.gating import insist, print_gates
from radproof.cli.parts import catalogue, listed, told
from radproof.cli.remote import AllowHttp, Project, assess_on
from radproof.errors import BadInput

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
AsJson = Annotated[bool, typer.Option("--json", help="Data as JSON on stdout.")]
Overwrite = Annotated[bool, typer.Option(help="Throw away what the folder holds of another plan.")]
Pdf = Annotated[bool, typer.Option(help="Also write report.pdf (needs the extra radproof[pdf]).")]
Model = Annotated[
    Path | None, typer.Option(help="A model's folder, or a .onnx, .pt2, .keras, .h5, .pt or .safetensors file.")
]
Card = Annotated[Path | None, typer.Option(help="A model file's card, where none lies beside it.")]
Architecture = Annotated[
    str | None, typer.Option(help="Network of a file of weights alone: a timm name, or torchvision:NAME.")
]
BlackBox = Annotated[bool, typer.Option("--black-box", help="Only ask an ONNX file's network.")]
Endpoint = Annotated[str | None, typer.Option(help="Address of a service that answers, in place of a model.")]
Protocol = Annotated[str | None, typer.Option(help="What the service speaks: v2 (default) | v1, of KServe.")]
Data = Annotated[
    str | None,
    typer.Option(help="NIH release, folder per class, manifest, DICOM, NIfTI, .npz, .tar, or the word phantom."),
]
Labels = Annotated[Path | None, typer.Option(help="Table (CSV) of what each image of --data shows.")]
Attacks = Annotated[str | None, typer.Option(help="Attacks, with commas: sia,stm,pgn,usmm.")]
Budgets = Annotated[str | None, typer.Option("--eps", help="Budgets, with commas: 1/255,4/255.")]
Goals = Annotated[str | None, typer.Option(help="misclassify, missed-finding, false-alarm, target:CLASS.")]
Preset = Annotated[str | None, typer.Option(help="quick (default) | published | exhaustive.")]
Images = Annotated[int | None, typer.Option(help="At most so many test images.")]
Size = Annotated[int | None, typer.Option(help="Resize the longer side on import.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random; 0 by default.")]
RemoteServer = Annotated[
    str | None,
    typer.Option("--server", help="Let this server do the plan; the key is RADPROOF_KEY. Without it, here."),
]
Device = Annotated[str | None, typer.Option(help="auto (default) | cpu | cuda | mps.")]


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
        network = _network(model, card, architecture, black_box, endpoint, protocol)
        chosen = make_plan(
            _options(network, data, labels, attacks, eps, goals, preset, images, size, seed, device)
            | {"defenses": _split(defenses or "jpeg_tvm")}
            | _detectors(detectors, network),
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

    network = _network(model, card, architecture)
    plan = make_plan(
        _options(network, data, labels, attacks, eps, goals, preset, images, size, seed, device), base=Path.cwd()
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
        made = app.defend(data, _split(defenses), out, seed=seed or 0, progress=bars)
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
            _split(detectors),
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


def parts(
    name: Annotated[str | None, typer.Argument(help="A part to describe; none lists all.")] = None,
    as_json: AsJson = False,
) -> None:
    """List attacks, defences, detectors and corruptions, or describe one with its parameters."""
    every = catalogue()
    if name is None:
        if as_json:
            print_json(every)
            return
        for kind in every:
            print_lines([f"{kind}:", listed(kind)])
        return
    found = next((found[name] for found in every.values() if name in found), None)
    if found is None:
        from radproof.core.names import nearest

        raise BadInput(f"no part named {name!r}{nearest(name, [n for found in every.values() for n in found])}")
    if as_json:
        print_json(found)
        return
    print_lines([f"{found['title']} ({found['paper']})" if found["paper"] else found["title"], "", found["doc"], ""])
    print_table("Parameters", found["parameters"] or [{"name": "none"}])


def _network(
    model: Path | None,
    card: Path | None,
    architecture: str | None,
    black_box: bool = False,
    endpoint: str | None = None,
    protocol: str | None = None,
) -> dict[str, Any]:
    """A plan's section model."""
    if (model is None) == (endpoint is None):
        raise BadInput("give a plan (radproof assess PLAN.yaml), or --data PATH and one of --model and --endpoint")
    told: dict[str, Any] = {"card": str(card) if card else None, "architecture": architecture, "black_box": black_box}
    if endpoint is not None:
        return told | {"endpoint": {"url": endpoint, "protocol": protocol or "v2"}}
    return told | {"path": str(model)}


def _detectors(named: str | None, network: dict[str, Any]) -> dict[str, Any]:
    """Those named; else the usual one, left out where it cannot be taught."""
    if named is not None:
        return {"detectors": _split(named)}
    usual = "consistency" if _only_answers(network) else "drift"
    return {"detectors": [usual], "detection": {"required": False}}


def _only_answers(network: dict[str, Any]) -> bool:
    return bool(network["black_box"] or network.get("endpoint"))


def _options(
    network: dict[str, Any],
    data: str | None,
    labels: Path | None,
    attacks: str | None,
    eps: str | None,
    goals: str | None,
    preset: str | None,
    images: int | None,
    size: int | None,
    seed: int | None,
    device: str | None,
) -> dict[str, Any]:
    from radproof import app

    if data is None:
        raise BadInput("give a plan (radproof assess PLAN.yaml), or --model FOLDER and --data PATH")
    kind = "phantom" if data == "phantom" else app.kind_of(Path(data), labelled=labels is not None)
    source: dict[str, Any] = {"kind": kind, "images": images, "size": size, "seed": seed or 0}
    source |= {"count": max(300, 5 * (images or 60)), "size": size or 64} if kind == "phantom" else {"path": data}
    usual = "square,hopskipjump" if _only_answers(network) else "fgsm,pgd,sia,stm,pgn,usmm"
    return {
        "name": "assessment",
        "seed": seed or 0,
        "device": device or "auto",
        "preset": preset or "quick",
        "data": source | ({"labels": str(labels)} if labels else {}),
        "model": network,
        "attacks": _split(attacks or usual),
        "budgets": _split(eps or "1/255,4/255"),
        "goals": _split(goals or "misclassify"),
    }


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _done(line: str, facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(facts)
    else:
        print_lines([line])
