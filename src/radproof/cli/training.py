# SPDX-License-Identifier: Apache-2.0
"""The command train."""

from pathlib import Path
from typing import Annotated, Any

import typer

from radproof.cli.console import Bars, print_json, print_lines


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("train")(train)


def train(
    data: Annotated[Path, typer.Option(help="NIH release, folder per class, or manifest.")],
    out: Annotated[Path, typer.Option(help="The model's folder.")],
    recipe: Annotated[Path | None, typer.Option(help="A recipe in YAML; options below override it.")] = None,
    architecture: Annotated[str | None, typer.Option(help="densenet121, resnet50, any timm CNN, or cxrnet.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Pretrained backbone weights (safetensors).")] = None,
    start: Annotated[Path | None, typer.Option(help="A model's folder, whose weights to begin from.")] = None,
    teacher: Annotated[Path | None, typer.Option(help="A model's folder, whose answers to learn (distill:).")] = None,
    input_size: Annotated[int | None, typer.Option(help="Side of the square that the network sees.")] = None,
    head_epochs: Annotated[int | None, typer.Option(help="Epochs of the head on a frozen backbone.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of fine-tuning.")] = None,
    unfreeze: Annotated[str | None, typer.Option(help="Last layers to fine-tune, or all.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of fine-tuning.")] = None,
    balance: Annotated[str | None, typer.Option(help="none | class_weights | sampling.")] = None,
    classes: Annotated[str | None, typer.Option(help="Findings to tell apart, with commas.")] = None,
    multi_label: Annotated[bool, typer.Option(help="All findings side by side (sigmoid head).")] = False,
    split: Annotated[str, typer.Option(help="patient (60/20/20) | release (its own test list).")] = "patient",
    seed: Annotated[int | None, typer.Option(help="Seed of split, weights and order; 0 by default.")] = None,
    device: Annotated[str, typer.Option(help="auto | cpu | cuda | mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="The card as JSON on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Train a classifier by transfer learning; interrupt it as you like, the same command goes on where it was."""
    from radproof.assess.plan_file import read_yaml

    raw: dict[str, Any] = {} if recipe is None else read_yaml(recipe, "recipe")
    from radproof import app
    from radproof.assess.plan import checked
    from radproof.training.recipe import TrainingRecipe

    chosen = {
        "seed": seed,
        "architecture": architecture,
        "weights": str(weights) if weights else None,
        "input_size": input_size,
        "head_epochs": head_epochs,
        "epochs": epochs,
        "unfreeze": int(unfreeze) if unfreeze and unfreeze.isdigit() else unfreeze,
        "lr": lr,
        "balance": balance,
    }
    raw |= {name: value for name, value in chosen.items() if value is not None}
    settled = checked(TrainingRecipe, raw, "recipe")
    with Bars(quiet=quiet) as bars:
        manifest = app.open_path(
            data,
            progress=bars,
            classes=tuple(classes.split(",")) if classes else None,
            multi_label=multi_label,
            split=split,
            seed=seed or 0,
        )
        card = app.train(manifest, settled, out, start=start, teacher=teacher, device=device, progress=bars)
    if as_json:
        print_json(card.model_dump(mode="json"))
    else:
        print_lines([f"{name}: {value}" for name, value in card.metrics.items()])
        print_lines([f"Model: {out}"])
