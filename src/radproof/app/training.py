# SPDX-License-Identifier: Apache-2.0
"""Train a model."""

from pathlib import Path

import torch

from radproof.assess.networks import training_facts
from radproof.core.device import resolve
from radproof.core.progress import SILENT, Progress
from radproof.data.load import load_images
from radproof.data.manifest import Manifest
from radproof.models.card import ModelCard, load_model
from radproof.reports.curves import write_curves
from radproof.training.loop import train as train_model
from radproof.training.recipe import TrainingRecipe


def train(
    manifest: Manifest,
    recipe: TrainingRecipe,
    out: Path,
    *,
    start: Path | None = None,
    teacher: Path | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> ModelCard:
    """Train on the training fold, choose and calibrate on the validation fold; the model's folder is `out`.

    `start` is the folder of a model whose weights to begin from, `teacher` of one whose answers to learn.
    """
    where = resolve(device)
    begun, taught = (load_model(folder, where)[0] if folder else None for folder in (start, teacher))
    folds = {name: manifest.fold(name) for name in ("train", "validation")}
    loaded = {name: list(load_images(fold.samples, fold.root).images) for name, fold in folds.items()}
    trained = train_model(
        recipe,
        loaded["train"],
        torch.as_tensor(folds["train"].targets()),
        loaded["validation"],
        torch.as_tensor(folds["validation"].targets()),
        labels=manifest.labels,
        head=manifest.head,
        device=where,
        folder=out,
        progress=progress,
        facts=training_facts(manifest),
        start=begun,
        teacher=taught,
    )
    write_curves(out)
    return trained.card
