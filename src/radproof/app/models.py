# SPDX-License-Identifier: Apache-2.0
"""Strangers' models: taken, described, checked and converted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from radproof.assess.describing import Described, describe_model, import_model
from radproof.assess.in_use import data_plan
from radproof.assess.inspecting import Inspection, inspected
from radproof.assess.sections import ModelPlan
from radproof.core.progress import SILENT, Progress
from radproof.models.convert import converted


def check_model(
    model: ModelPlan, data: Path, cache: Path, *, device: str = "auto", progress: Progress = SILENT, **how: Any
) -> Inspection:
    """What a model is and whether its images reach it as it learnt them, before anything attacks it.

    `how` are keys of a plan's data section. Strangers' files are opened in a guarded process.
    """
    return inspected(model, data_plan(data.resolve(), **how), cache, device, progress)


def take_model(upload: Path, out: Path, *, progress: Progress = SILENT, **how: Any) -> Described:
    """Keep a stranger's model file, or a zip of radproof's own folder, in `out`: opened once, in a guarded process.

    `how`: card, architecture, device. Nothing is left of what cannot be opened.
    """
    return import_model(upload, out, progress=progress, **how)


def describe(model: Path, *, progress: Progress = SILENT, **how: Any) -> Described:
    """What a model is: its card, size, speed and access, opened in a guarded process.

    `how`: architecture, device; data, cache and write, to try it on labelled images and leave the likely card.
    """
    return describe_model(model, progress=progress, **how)


def convert(
    file: Path,
    out: Path,
    *,
    shape: Sequence[int] = (3, 224, 224),
    code: Path | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Run a file that radproof does not open, by its owner's word, and keep a form in which nothing runs.

    `shape` is that of one image as the network takes it; `code` a folder of Python modules that the file names. It is
    run in a guarded process, which may write into a new folder alone. Raises BadModel where no network comes out.
    """
    return converted(file, out, shape=shape, code=code, progress=progress)
