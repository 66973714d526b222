# SPDX-License-Identifier: Apache-2.0
"""The options that stand for a plan: a model, images, attacks and budgets."""

from pathlib import Path
from typing import Annotated, Any

import typer

from radproof.errors import BadInput

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
Device = Annotated[str | None, typer.Option(help="auto (default) | cpu | cuda | mps.")]


def network_of(
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


def detectors_of(named: str | None, network: dict[str, Any]) -> dict[str, Any]:
    """Those named; else the usual one, left out where it cannot be taught."""
    if named is not None:
        return {"detectors": names_in(named)}
    usual = "consistency" if _only_answers(network) else "drift"
    return {"detectors": [usual], "detection": {"required": False}}


def _only_answers(network: dict[str, Any]) -> bool:
    return bool(network["black_box"] or network.get("endpoint"))


def plan_of(
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
    """The whole plan, but for defences and detectors."""
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
        "attacks": names_in(attacks or usual),
        "budgets": names_in(eps or "1/255,4/255"),
        "goals": names_in(goals or "misclassify"),
    }


def names_in(names: str) -> list[str]:
    """The names between commas."""
    return [name.strip() for name in names.split(",") if name.strip()]
