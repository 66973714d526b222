# SPDX-License-Identifier: Apache-2.0
"""Detect attacked images: a guard made, and images judged with one."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from radproof.assess.flagging import Flag
from radproof.assess.guarding import Lesson, known_groups
from radproof.assess.in_use import flag, make_guard
from radproof.assess.screening import Screened
from radproof.core.device import resolve
from radproof.core.progress import SILENT, Progress
from radproof.data.manifest import Manifest
from radproof.detectors import detector
from radproof.detectors.save import GuardCard
from radproof.reports.screened import screened


def detect(
    model: Path,
    clean: Path,
    images: Path,
    detectors: Sequence[str],
    out: Path,
    *,
    false_positive_rate: float = 0.05,
    split: str = "patient",
    seed: int = 0,
    other_data: bool = False,
    device: str = "auto",
    progress: Progress = SILENT,
) -> tuple[Manifest, tuple[Flag, ...]]:
    """Fit detectors on the clean data set's training fold, set thresholds on its validation fold, judge `images`.

    Leaves `out`/manifest.parquet, in which every image carries its scores. `split`, `seed` and `other_data` are those
    of `guard`; raises BadData as it does.
    """
    how: dict[str, Any] = {"split": split, "seed": seed, "other_data": other_data, "device": device}
    told = {"detectors": list(detectors), "rate": false_positive_rate, **how}
    return flag(model, clean, images, out, told, progress)


def guard(
    model: Path,
    data: Path,
    out: Path,
    *,
    name: str = "drift",
    rate: float = 0.05,
    by: str = "",
    split: str = "patient",
    seed: int = 0,
    other_data: bool = False,
    device: str = "auto",
    progress: Progress = SILENT,
) -> GuardCard:
    """Teach detector `name` on a data set's training patients, set thresholds on its validation patients, write `out`.

    At most a share `rate` of clean images is to get any alarm, for each answer or view where `by` says so: a half is
    for `name`, a half for images that are not of the model's kind. A threshold that too few images could promise is
    refused, and the card says why. `split` and `seed` are those of the training, where the data have no split.
    `other_data`: the model has seen none of them. Raises BadData where its training is known by other data or folds.
    """
    resolve(device)
    lesson = Lesson(detector[name].name, rate, known_groups(by), seed)
    how = {"split": split, "seed": seed, "other_data": other_data, "device": device}
    return make_guard(model, data, out, lesson, how, progress)


def screen(
    images: Sequence[Path],
    model: Path,
    guard_file: Path,
    *,
    out: Path | None = None,
    view: str | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Iterator[Screened]:
    """Judge image files and folders of them, one by one, with what `guard` wrote; a page each in `out` where given.

    A file that cannot be read or judged gets a refusal. Raises BadModel for a guard of another model.
    """
    return screened(images, model, guard_file, out=out, view=view, device=device, progress=progress)
